"""The gateway, assembled: routes, keys, limits, errors as problems."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from vaultak_streams.gateway import cloud_events
from vaultak_streams.gateway.bodies import read_body
from vaultak_streams.gateway.gateway import Gateway
from vaultak_streams.gateway.keys import ApiKey
from vaultak_streams.gateway.member import Member
from vaultak_streams.gateway.messages import AckSent, Answers, Commands, Problem
from vaultak_streams.gateway.openapi import document
from vaultak_streams.gateway.refusals import RefusedError, busy, invalid, malformed, not_yours, too_large, unknown_key
from vaultak_streams.otel.receiver import Receiver

log = structlog.get_logger("vaultak.gateway")

KEEP_ALIVE_S = 15.0
"""A comment so often, on a stream of commands: proxies end what is silent."""

MAX_CURSOR = 1 << 62

_acks = msgspec.json.Decoder(AckSent)


def build(gateway: Gateway) -> Starlette:
    """The ASGI application of a gateway; starts and stops with it."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with gateway:
            yield

    api = _Api(gateway)
    return Starlette(
        routes=[
            Route("/v1/actions", api.send, methods=["POST"]),
            Route("/v1/traces", api.traces, methods=["POST"]),
            Route("/v1/agents/{agent_id:path}/actions/{action_id}", api.action),
            Route("/v1/agents/{agent_id:path}/commands", api.commands),
            Route("/v1/agents/{agent_id:path}/acks", api.acknowledge, methods=["POST"]),
            Route("/openapi.json", _openapi),
            Route("/healthz", _healthy),
            Route("/readyz", api.ready),
        ],
        exception_handlers={RefusedError: api.refused, HTTPException: _not_found, Exception: _failed},
        lifespan=lifespan,
    )


class _Api:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._options = gateway.options
        self._receiver = Receiver(gateway.intake, gateway.options.max_body_bytes)

    async def send(self, request: Request) -> Response:
        key = self._key(request)
        wait_s = self._wait_s(request)
        body = read_body(request.headers, await self._body(request), self._options.max_events)
        answers = await self._gateway.intake.take(key, body.events, wait_s)
        if body.cloud_events:
            said = [cloud_events.wrapped(a, e.agent_id) for a, e in zip(answers, body.events, strict=True)]
            if body.batch:
                return _json(said, cloud_events.BATCH)
            return _json(said[0], cloud_events.STRUCTURED)
        return _json(Answers(results=tuple(answers)) if body.batch else answers[0])

    async def traces(self, request: Request) -> Response:
        key = self._key(request)
        exported = await self._receiver.receive(key, request.headers, await self._body(request))
        return Response(exported.body, media_type=exported.media_type)

    async def action(self, request: Request) -> Response:
        key, wait_s = self._key(request), self._wait_s(request)
        agent_id, action_id = request.path_params["agent_id"], request.path_params["action_id"]
        answer = self._gateway.intake.find(key, agent_id, action_id)
        if answer is not None and wait_s > 0:
            self._room()
            await self._gateway.intake.wait([(agent_id, action_id)], wait_s)
            answer = self._gateway.intake.find(key, agent_id, action_id)
        if answer is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "no such action, or it is too long ago; the audit store has it")
        return _json(answer)

    async def commands(self, request: Request) -> Response:
        member = await self._member(request)
        after, wait_s = _cursor(request, member.cursor), self._wait_s(request)
        if "text/event-stream" in request.headers.get("accept", ""):
            self._room()
            return StreamingResponse(self._stream(member, after), media_type="text/event-stream", headers=_UNSTORED)
        if wait_s > 0 and not member.commands(after):
            self._room()
            async with self._gateway.waiting():
                await member.wait_for_command(after, asyncio.get_running_loop().time() + wait_s)
        said = member.commands(after)
        cursor = said[-1].cursor if said else after
        return _json(Commands(state=member.state.value, cursor=cursor, commands=said))

    async def _stream(self, member: Member, after: int) -> AsyncIterator[bytes]:
        """Server-sent events: the state first, then each command as it comes."""
        yield b"event: state\ndata: %b\n\n" % msgspec.json.encode({"state": member.state.value})
        async with self._gateway.waiting():
            while not self._gateway.stopping:
                for seen in member.commands(after):
                    after = seen.cursor
                    data = msgspec.json.encode(seen.command)
                    yield b"id: %d\nevent: command\ndata: %b\n\n" % (seen.cursor, data)
                before = asyncio.get_running_loop().time()
                await member.wait_for_command(after, before + KEEP_ALIVE_S)
                if member.cursor <= after:
                    yield b": still here\n\n"

    async def acknowledge(self, request: Request) -> Response:
        member = await self._member(request)
        try:
            ack = _acks.decode(await self._body(request))
        except msgspec.ValidationError as e:
            raise invalid(str(e)) from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
            raise malformed(f"no JSON: {e}") from None
        member.acknowledge(ack)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def ready(self, _request: Request) -> Response:
        wrong = self._gateway.not_ready()
        return PlainTextResponse(f"{wrong or 'ok'}\n", 503 if wrong else 200)

    async def refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        refused = self._gateway.intake.counts.refused
        refused[str(int(error.status))] = refused.get(str(int(error.status)), 0) + 1
        return _problem(error.status, error.detail, error.retry_s)

    # -- what every request is asked ---------------------------------------------------------------------------

    def _key(self, request: Request) -> ApiKey:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        key = self._gateway.keys.verify(text.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise unknown_key()
        return key

    async def _member(self, request: Request) -> Member:
        key, agent_id = self._key(request), request.path_params["agent_id"]
        if not 0 < len(agent_id) <= 256 or not agent_id.isprintable() or agent_id == "*" or not key.covers(agent_id):
            raise not_yours(agent_id)
        return await self._gateway.members.get(agent_id)

    def _wait_s(self, request: Request) -> float:
        text = request.query_params.get("wait", "0")
        try:
            wait_s = float(text)
        except ValueError:
            wait_s = float("nan")
        if not 0 <= wait_s < 1e9:
            raise invalid("`wait` is a number of seconds")
        return min(wait_s, self._options.max_wait_s)

    def _room(self) -> None:
        if self._gateway.intake.waiting >= self._options.max_waiting:
            raise busy("too many requests wait already; ask without `wait`")

    async def _body(self, request: Request) -> bytes:
        limit, parts, size = self._options.max_body_bytes, [], 0
        if (
            request.headers.get("content-length", "0").isdigit()
            and int(request.headers.get("content-length", 0)) > limit
        ):
            raise too_large(f"the body is larger than {limit} bytes")
        try:
            async with asyncio.timeout(self._options.body_s):
                async for part in request.stream():
                    size += len(part)
                    if size > limit:
                        raise too_large(f"the body is larger than {limit} bytes")
                    parts.append(part)
        except TimeoutError:
            why = f"the body took longer than {self._options.body_s:g} s"
            raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, why) from None
        except ClientDisconnect:
            raise malformed("the client went away") from None
        return b"".join(parts)


def _cursor(request: Request, now: int) -> int:
    """From where on: `after`, what an event stream had last, or now."""
    text = request.query_params.get("after") or request.headers.get("last-event-id") or str(now)
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > MAX_CURSOR:
        raise invalid("`after` is a cursor that this gateway gave")
    return int(text)


_UNSTORED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def _json(value: Any, media_type: str = "application/json") -> Response:
    return Response(_encode(value), media_type=media_type, headers={"Cache-Control": "no-store"})


def _problem(status: HTTPStatus, detail: str, retry_s: float | None = None) -> Response:
    headers = {} if retry_s is None else {"Retry-After": str(max(1, round(retry_s)))}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    body = _encode(Problem(title=status.phrase, status=int(status), detail=detail))
    return Response(body, int(status), headers, "application/problem+json")


async def _not_found(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = _problem(HTTPStatus(error.status_code), error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _failed(request: Request, error: Exception) -> Response:
    log.error("a request failed", path=request.url.path, error=f"{type(error).__name__}: {error}")
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "")


async def _openapi(_request: Request) -> Response:
    return _json(document())


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok\n")
