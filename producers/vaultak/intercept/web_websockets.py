"""websockets: the opening of a connection, sync and asyncio, as a request to its `ws://` or `wss://` URL.

What is wrapped opens one connection: a redirect is a request of its own.
"""

from __future__ import annotations

import sys
from typing import Any
from weakref import WeakKeyDictionary

from vaultak.intercept import exchange, web
from vaultak.intercept.effect import Classifier
from vaultak.intercept.exchange import CLIENT, Exchange, Reply
from vaultak.intercept.patching import patch_function, patch_method, when_imported

CLASSIFIERS: dict[str, Classifier] = {}

_ASYNC, _SYNC = "websockets.asyncio.client", "websockets.sync.client"

_open: WeakKeyDictionary[Any, Exchange] = WeakKeyDictionary()
"""By connection: opened, its handshake not answered yet."""


def _opened(connecting: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> web.Request:
    return web.request("GET", connecting.uri)._replace(library="websockets")


def _opened_by_function(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> web.Request:
    return web.request("GET", args[0] if args else kwargs["uri"])._replace(library="websockets")


def _waits(begun: Exchange, connection: Any) -> None:
    _open[connection] = begun


def _reply(_exchange: Exchange, connection: Any) -> Reply:
    return Reply(int(connection.response.status_code), str(connection.response.reason_phrase))


def _patch_async() -> None:
    client = sys.modules[_ASYNC]
    opening = exchange.sent_async("websockets.connect", CLIENT, _opened, _waits)
    for name in ("open_tcp_connection", "create_connection"):  # of newer and of older releases
        patch_method(client.connect, name, opening)
    patch_method(client.ClientConnection, "handshake", exchange.answered_async("status_code", _open))


def _patch_sync() -> None:
    client = sys.modules[_SYNC]
    if (opener := getattr(client, "reconnect", None)) is None:  # older releases follow no redirects
        patch_function((_SYNC,), "connect", exchange.sent("websockets.connect", CLIENT, _opened_by_function, _reply))
        return
    patch_method(opener, "open_connection", exchange.sent("websockets.connect", CLIENT, _opened, _reply))


def patch() -> None:
    when_imported(_ASYNC, _patch_async)
    when_imported(_SYNC, _patch_sync)
