"""HTTP requests under way: judged before anything is sent, once, by the outermost library that sends them.

Libraries stack (requests on urllib3 on http.client). A lower layer is covered by a higher one that is sending to the
same URL in the same context; a retry or a redirected hop comes from the same layer and is judged anew.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar, Token
from types import FrameType, FunctionType
from typing import Any, Final, NamedTuple, cast

from vaultak.errors import ActionDeniedError, AgentKilledError
from vaultak.governor import Governor, current
from vaultak.intercept.calls import MAX_ERROR_CHARS, Wrapper
from vaultak.intercept.hook import faults
from vaultak.intercept.trust import Origin, origins
from vaultak.intercept.web import Request
from vaultak.wire import ActionType, OutcomeStatus

log = logging.getLogger("vaultak.intercept")

MAX_CONTENT_CHARS = 8192
FAILED_FROM = 400
"""Status codes from here on are recorded as errors."""

CLIENT: Final = 3
LINE: Final = 2
BYTES: Final = 1
"""Layers, outermost first: a library's pool or session; a call that sends a request; the lines of a request."""

_STDLIB_CLIENTS = frozenset({"urllib", "xmlrpc"})

Describe = Callable[[Any, tuple[Any, ...], dict[str, Any]], Request | None]
"""The request that a call (instance, positional, keyword arguments) will send; `None` when it sends none."""


class Reply(NamedTuple):
    """What came back, as far as it is known when the call returns. The text is a stranger's."""

    code: int
    reason: str = ""
    text: str = ""


class Exchange:
    """One request, from judgement to reply."""

    __slots__ = ("_started_s", "action_id", "ended", "governor", "layer", "outer", "request")

    def __init__(self, governor: Governor, action_id: str, layer: int, request: Request) -> None:
        self.governor = governor
        self.action_id = action_id
        self.layer = layer
        self.request = request
        self.outer = _under_way.get()
        self.ended = False
        self._started_s = time.perf_counter()

    def replied(self, reply: Reply) -> None:
        """Record the reply; the first end counts."""
        head = f"HTTP {reply.code} {reply.reason}".rstrip()
        content = f"{head}\n\n{reply.text}"[:MAX_CONTENT_CHARS] if reply.text else head
        if reply.code >= FAILED_FROM:
            self._end(OutcomeStatus.ERROR, content=content, error=head[:MAX_ERROR_CHARS])
        else:
            self._end(OutcomeStatus.OK, content=content)

    def failed(self, error: BaseException) -> None:
        """Record that there was no reply."""
        if isinstance(error, ActionDeniedError | AgentKilledError):
            self._end(OutcomeStatus.DENIED, error=str(error)[:MAX_ERROR_CHARS])
        else:
            self._end(OutcomeStatus.ERROR, error=f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS])

    def _end(self, status: OutcomeStatus, *, content: str = "", error: str = "") -> None:
        if self.ended:
            return
        self.ended = True
        duration_ms = (time.perf_counter() - self._started_s) * 1000
        self.governor.after(self.action_id, status, content=content, error=error, duration_ms=duration_ms)


_under_way: ContextVar[Exchange | None] = ContextVar("vaultak_exchange", default=None)


class Asked(NamedTuple):
    """A request that has to be judged."""

    governor: Governor
    layer: int
    request: Request | None
    name: str

    def judge(self) -> Exchange:
        """Raises what the governor raises; blocks while the agent is paused."""
        return self._begun(self.governor.before(*self._action(), assurance="patch"))

    async def judge_async(self) -> Exchange:
        """As `judge`; a pause leaves the event loop free."""
        return self._begun(await self.governor.before_async(*self._action(), assurance="patch"))

    def _action(self) -> tuple[ActionType, str, dict[str, Any]]:
        if self.request is None:
            return ActionType.CUSTOM, f"unclassified:{self.name}", {"event": self.name}
        return ActionType.NETWORK_REQUEST, self.request.resource, self.request.payload()

    def _begun(self, action_id: str) -> Exchange:
        return Exchange(self.governor, action_id, self.layer, self.request or _UNKNOWN)


_UNKNOWN = Request("", "", "", 0, "", "")


def asked(
    name: str, layer: int, describe: Describe, frame: FrameType, call: tuple[Any, tuple[Any, ...], dict[str, Any]]
) -> Asked | None:
    """What has to be judged before a call; `None` when nobody governs it or a higher layer stands for it.

    A bug in `describe` never hides the request: it is judged as `unclassified:<name>`.
    """
    governor = current()
    if governor is None or not governor.intercepted:
        return None
    actor, own = origins.actor(frame)
    if own:
        return None
    try:
        request = describe(*call)
        if request is None or covering(governor, layer, request.resource) is not None:
            return None
        return Asked(governor, layer, request._replace(library=request.library or _library(actor, name)), name)
    except Exception as e:  # noqa: BLE001
        faults[f"classify:{name}"] += 1
        log.warning("cannot classify `%s`: %s: %s", name, type(e).__name__, e)
        return Asked(governor, layer, None, name)


def covering(governor: Governor, layer: int, resource: str) -> Exchange | None:
    """The exchange of a higher layer under way in this context that stands for a request to `resource`."""
    exchange = _under_way.get()
    while exchange is not None:
        if (
            exchange.layer > layer
            and not exchange.ended
            and exchange.governor is governor
            and resource in (exchange.request.resource, exchange.request.authority)
        ):
            return exchange
        exchange = exchange.outer
    return None


def _library(caller: FrameType | None, name: str) -> str:
    """The library that sends: the one that called the patched method, or that method's own."""
    package = str(caller.f_globals.get("__name__", "")).partition(".")[0] if caller is not None else ""
    if caller is not None and (package in _STDLIB_CLIENTS or origins.of(caller.f_code) is Origin.LIBRARY):
        return package
    return name.rpartition(".")[0]


def enter(exchange: Exchange) -> Token[Exchange | None]:
    """Let an exchange stand for the lower layers of what runs now."""
    return _under_way.set(exchange)


def leave(token: Token[Exchange | None]) -> None:
    with contextlib.suppress(ValueError):  # finished in another context, which never saw it
        _under_way.reset(token)


Concluded = Callable[[Exchange, Any], Reply | None]
"""Reads the reply out of what a call returned; `None` when it is not known yet: whoever sees it calls `replied`."""

Begun = Callable[[Exchange, Any, tuple[Any, ...]], object]
"""Told of an exchange that was allowed, with the call's instance and positional arguments."""


def _unobserved(_exchange: Exchange, _instance: Any, _args: tuple[Any, ...]) -> None:
    return None


def sent(
    name: str, layer: int, describe: Describe, reply: Concluded = lambda _e, _r: None, begun: Begun = _unobserved
) -> Wrapper:
    """A wrapt wrapper of a call that sends a request: judged before it, recorded after it."""

    def send(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if current() is None:
            return wrapped(*args, **kwargs)
        found = asked(name, layer, describe, sys._getframe(1), (instance, args, kwargs))
        if found is None:
            return wrapped(*args, **kwargs)
        exchange = found.judge()
        begun(exchange, instance, args)
        token = enter(exchange)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as e:
            exchange.failed(e)
            raise
        finally:
            leave(token)
        conclude(exchange, reply, result)
        return result

    return send


def sent_async(
    name: str, layer: int, describe: Describe, reply: Concluded = lambda _e, _r: None, begun: Begun = _unobserved
) -> Wrapper:
    """As `sent`, for a coroutine function."""

    async def send(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = asked(name, layer, describe, sys._getframe(1), (instance, args, kwargs))
        if found is None:
            return await wrapped(*args, **kwargs)
        exchange = await found.judge_async()
        begun(exchange, instance, args)
        token = enter(exchange)
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as e:
            exchange.failed(e)
            raise
        finally:
            leave(token)
        conclude(exchange, reply, result)
        return result

    return send


def conclude(exchange: Exchange, reply: Concluded, result: object) -> None:
    """Record the reply that a call returned. Never raises."""
    try:
        answer = reply(exchange, result)
        if answer is not None:
            exchange.replied(answer)
    except Exception as e:  # noqa: BLE001 - a response of a foreign class may be anything
        faults["reply"] += 1
        log.warning("cannot read a reply: %s: %s", type(e).__name__, e)


Open = MutableMapping[Any, Exchange]
"""Exchanges that wait for a reply, by the connection or response that will have it; weak, so as long as those live."""


def carried(pending: Open) -> Wrapper:
    """A wrapt wrapper of a method that sends what was judged before: its failure is the exchange's."""

    def carry(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return wrapped(*args, **kwargs)
        except BaseException as e:
            if (exchange := pending.pop(instance, None)) is not None:
                exchange.failed(e)
            raise

    return carry


def answered(code: str, pending: Open) -> Wrapper:
    """A wrapt wrapper of a method that gets the response, whose attribute `code` is the status code.

    The response is what the method returns, or the instance itself, or its `response`.
    """

    def answer(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not pending or (exchange := pending.pop(instance, None)) is None:
            return wrapped(*args, **kwargs)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as e:
            exchange.failed(e)
            raise
        conclude(exchange, lambda _e, r: _reply_of(r, code), _response(instance, result, code))
        return result

    return answer


def answered_async(code: str, pending: Open) -> Wrapper:
    """As `answered`, for a coroutine method."""

    def begin(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not pending or (exchange := pending.pop(instance, None)) is None:
            return wrapped(*args, **kwargs)
        return _awaited(exchange, wrapped(*args, **kwargs), instance, code)

    return begin


async def _awaited(exchange: Exchange, answering: Awaitable[Any], instance: object, code: str) -> Any:
    try:
        result = await answering
    except BaseException as e:
        exchange.failed(e)
        raise
    conclude(exchange, lambda _e, r: _reply_of(r, code), _response(instance, result, code))
    return result


def _response(instance: object, result: object, code: str) -> object:
    for held in (result, instance):
        if hasattr(held, code):
            return held
    return getattr(instance, "response", None)


def _reply_of(response: Any, code: str) -> Reply:
    reason = getattr(response, "reason", None) or getattr(response, "reason_phrase", None)
    return Reply(int(getattr(response, code)), str(reason or ""))


def _nothing(_instance: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    return None


origins.make_transparent(
    cast(FunctionType, sent("", 0, _nothing)),
    cast(FunctionType, sent_async("", 0, _nothing)),
    cast(FunctionType, carried({})),
    cast(FunctionType, answered("", {})),
    cast(FunctionType, answered_async("", {})),
    cast(FunctionType, _awaited),
)
