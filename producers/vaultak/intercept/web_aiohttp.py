"""aiohttp: a request is judged before its connection is opened or taken from the pool, each redirected hop anew."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import FunctionType
from typing import Any, cast
from weakref import WeakKeyDictionary

from vaultak.governor import current
from vaultak.intercept import exchange, web
from vaultak.intercept.effect import Classifier
from vaultak.intercept.exchange import CLIENT, LINE, Exchange
from vaultak.intercept.patching import patch_method, when_imported
from vaultak.intercept.trust import origins

CLASSIFIERS: dict[str, Classifier] = {}

_connecting: WeakKeyDictionary[Any, Exchange] = WeakKeyDictionary()
"""By request: judged, not sent yet."""
_open: WeakKeyDictionary[Any, Exchange] = WeakKeyDictionary()
"""By response: sent, not answered yet."""


def _request(sending: Any) -> web.Request:
    url = sending.url
    target = url.raw_path + (f"?{url.raw_query_string}" if url.raw_query_string else "")
    asked = web.request(sending.method, target, scheme=url.scheme, host=url.raw_host or "", port=url.port)
    body = sending.body
    value = body if isinstance(body, bytes) else getattr(body, "_value", None)
    return web.with_body(asked, list(sending.headers.items()), value if isinstance(value, bytes | str) else None)


def _connected(_connector: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> web.Request:
    """`connect(req, traces, timeout)`."""
    return _request(args[0] if args else kwargs["req"])


def _sent(sending: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> web.Request:
    return _request(sending)


def _begun(begun: Exchange, _connector: Any, args: tuple[Any, ...]) -> None:
    if args:
        _connecting[args[0]] = begun


def _waits(begun: Exchange, response: Any) -> None:
    _open[response] = begun


def _sends(judged: Callable[..., Any]) -> Callable[..., Any]:
    """`ClientRequest.send`: what was judged when its connection was made is not judged again, unless it changed."""

    def send(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        governor = current()
        if governor is None:
            return wrapped(*args, **kwargs)
        begun = _connecting.pop(instance, None)
        if begun is None or begun.governor is not governor or not _same(begun.request, instance):
            return judged(wrapped, instance, args, kwargs)
        return _send(begun, wrapped(*args, **kwargs))

    return send


async def _send(begun: Exchange, sending: Awaitable[Any]) -> Any:
    token = exchange.enter(begun)
    try:
        result = await sending
    except BaseException as e:
        begun.failed(e)
        raise
    finally:
        exchange.leave(token)
    _waits(begun, result)
    return result


def _same(judged: web.Request, sending: Any) -> bool:
    now = _request(sending)
    return (now.method, now.resource) == (judged.method, judged.resource)


def _patch() -> None:
    connector, messages = sys.modules["aiohttp.connector"], sys.modules["aiohttp.client_reqrep"]
    connect = exchange.sent_async("aiohttp.connect", CLIENT, _connected, begun=_begun)
    patch_method(connector.BaseConnector, "connect", connect)
    patch_method(messages.ClientRequest, "send", _sends(exchange.sent_async("aiohttp.send", LINE, _sent, _waits)))
    patch_method(messages.ClientResponse, "start", exchange.answered_async("status", _open))


def patch() -> None:
    when_imported("aiohttp.connector", _patch)


origins.make_transparent(cast(FunctionType, _sends(lambda: None)), cast(FunctionType, _send))
