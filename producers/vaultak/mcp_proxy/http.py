"""A server behind its URL (streamable HTTP), its clients on an address of ours: what passes is judged on the way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit

from vaultak.errors import ConfigurationError
from vaultak.mcp_proxy.gate import ASKS, JUDGED, Gate
from vaultak.mcp_proxy.messages import INVALID_REQUEST, REFUSED, Message, UnreadableError, error, read
from vaultak.mcp_proxy.sse import Event, event_of, events

try:
    import httpx
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route
except ImportError as e:
    raise ConfigurationError(f"a URL needs more ({e}); install it with: pip install 'vaultak[mcp-proxy]'") from None

log = logging.getLogger("vaultak.mcp")

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
MAX_PORT: Final = 65535
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_HOP_BY_HOP: Final = frozenset({
    "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length",
    "proxy-authorization", "proxy-authenticate", "content-encoding", "accept-encoding",
})  # fmt: skip


class _AnsweredError(Exception):
    """The server's answer is no message: its status says more."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"the server answered {response.status_code}")
        self.response = response


def checked(url: str, listen: str) -> tuple[str, int]:
    """Host and port to serve on. Raises `ConfigurationError` for addresses that cannot be used."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > MAX_PORT:
        raise ConfigurationError(f"--listen: `{listen[:80]}` is not HOST:PORT")
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigurationError(f"--url: `{url[:80]}` is no http(s) address")
    return host, int(port)


def serve_http(url: str, host: str, port: int, gate: Gate) -> int:
    """Serve until Ctrl-C; the exit code."""
    config = uvicorn.Config(
        app(url, gate, host), host=host, port=port, log_level="warning", timeout_graceful_shutdown=2
    )
    asyncio.run(_serve(uvicorn.Server(config), host))
    return 0


async def _serve(server: uvicorn.Server, host: str) -> None:
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    for socket in [socket for each in server.servers for socket in each.sockets]:
        sys.stderr.write(f"vaultak mcp-proxy: http://{host}:{socket.getsockname()[1]}\n")
        sys.stderr.flush()
    await serving


def app(url: str, gate: Gate, host: str = "127.0.0.1") -> Starlette:
    """The proxy as an ASGI application; every path leads to `url`."""
    proxy = _Proxy(url, gate, host)
    route = Route("/{path:path}", proxy.handle, methods=["GET", "POST", "DELETE"])
    return Starlette(routes=[route], lifespan=proxy.lifespan)


class _Proxy:
    def __init__(self, url: str, gate: Gate, host: str) -> None:
        self._url, self._gate, self._host = url, gate, host

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        # A call may take as long as it takes; only connecting is limited.
        async with httpx.AsyncClient(timeout=httpx.Timeout(None, connect=10), follow_redirects=False) as self._client:
            yield

    async def handle(self, request: Request) -> Response:
        if refusal := self._foreign(request):
            return Response(refusal, 403)
        try:
            if request.method == "POST":
                return await self._post(request)
            return await self._pass_on(request, b"")
        except _AnsweredError as e:
            return e.response
        except httpx.HTTPError as e:
            return Response(error(None, REFUSED, f"the server cannot be reached: {type(e).__name__}"), 502)

    def _foreign(self, request: Request) -> str:
        """A page in somebody's browser must not reach a server on this machine (DNS rebinding)."""
        own = {self._host, *_LOOPBACK} if self._host in _LOOPBACK else None
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
        origin = request.headers.get("origin")
        if own is not None and host not in own:
            return "this host is not served"
        if origin and urlsplit(origin).hostname not in (own or (host,)):
            return "this origin is not served"
        return ""

    async def _post(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return Response(error(None, REFUSED, "the message is too long"), 413)
        try:
            message = read(body)
        except UnreadableError as e:
            return Response(error(None, e.code, str(e)), 400, media_type="application/json")
        if message.method in JUDGED and message.id is None:
            refusal = error(None, INVALID_REQUEST, f"`{message.method}` needs an id")
            return Response(refusal, 400, media_type="application/json")
        if not message.method or message.id is None:
            return await self._pass_on(request, body)
        return await self._request(request, message)

    async def _request(self, request: Request, message: Message) -> Response:
        """Judged, sent, answered. What comes ahead of the answer goes out at once, as events."""
        ahead: asyncio.Queue[bytes | None] = asyncio.Queue(1000)
        headers: dict[str, str] = {}
        answering = asyncio.create_task(self._answer(request, message, ahead, headers))
        answering.add_done_callback(lambda _: ahead.put_nowait(None) if not ahead.full() else None)
        first = await ahead.get()
        if first is None:
            return Response(await answering, 200, headers, media_type="application/json")

        async def stream() -> AsyncIterator[bytes]:
            try:
                event: bytes | None = first
                while event is not None:
                    yield event
                    event = None if answering.done() and ahead.empty() else await ahead.get()
                with contextlib.suppress(_AnsweredError):
                    yield event_of(await answering)
            finally:
                answering.cancel()

        return StreamingResponse(stream(), 200, headers, media_type="text/event-stream")

    async def _answer(
        self, request: Request, message: Message, ahead: asyncio.Queue[bytes | None], headers: dict[str, str]
    ) -> bytes:
        async def forward() -> Message:
            async with self._client.stream(
                "POST", self._url, content=message.raw, headers=_passed(request.headers)
            ) as answer:
                headers.update(_passed(answer.headers, without=("content-type",)))
                kind = answer.headers.get("content-type", "")
                if answer.status_code == 200 and kind.startswith("text/event-stream"):
                    return await self._last(message, request, answer, ahead)
                body = await answer.aread()
                if answer.status_code != 200 or not kind.startswith("application/json"):
                    raise _AnsweredError(Response(body, answer.status_code, _passed(answer.headers)))
                return _answer_to(message, read(body))

        try:
            return await self._gate.request(message, forward)
        except UnreadableError as e:
            log.warning("the server sent what is no message: %s", e)
            return error(message.id, REFUSED, "the server sent what is no message")

    async def _last(
        self, message: Message, request: Request, answer: httpx.Response, ahead: asyncio.Queue[bytes | None]
    ) -> Message:
        """The answer among the events of a stream."""
        async for event in events(answer.aiter_bytes()):
            found = read(event.data) if event.data else None
            if found is not None and not found.method and found.id == message.id:
                return found
            if (judged := await self._judged(event, found, request)) is not None:
                await ahead.put(judged)
        raise UnreadableError("the stream ended without an answer")

    async def _judged(self, event: Event, found: Message | None, request: Request) -> bytes | None:
        """An event as it goes to the client; `None` for what it does not get: answers to what is not asked here, and
        what the server may not ask. It is told so."""
        if found is not None and not found.method:
            return None
        if found is None or found.id is None or found.method not in ASKS:
            return event.raw

        async def forward() -> Message:
            return Message({"result": None}, b"")

        refusal = await self._gate.ask(found, forward)
        if not refusal:
            return event.raw
        await self._client.post(self._url, content=refusal, headers=_passed(request.headers))
        return None

    async def _pass_on(self, request: Request, body: bytes) -> Response:
        sent = self._client.build_request(request.method, self._url, content=body, headers=_passed(request.headers))
        answer = await self._client.send(sent, stream=True)
        headers = _passed(answer.headers)
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            content = await answer.aread()
            await answer.aclose()
            # What is no request has no answer: a body that came all the same could pass for one.
            return Response(content if answer.is_error else b"", answer.status_code, headers)

        async def stream() -> AsyncIterator[bytes]:
            try:
                async for event in events(answer.aiter_bytes()):
                    with contextlib.suppress(UnreadableError):
                        found = read(event.data) if event.data else None
                        if (judged := await self._judged(event, found, request)) is not None:
                            yield judged
            finally:
                await answer.aclose()

        return StreamingResponse(stream(), answer.status_code, headers)


def _answer_to(asked: Message, found: Message) -> Message:
    """Raises `UnreadableError` for another message than the answer."""
    if found.method or found.id != asked.id:
        raise UnreadableError("this is no answer to what was asked")
    return found


def _passed(headers: Any, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP and name not in without}
