"""`http.client`: the lowest Python layer of HTTP, under urllib and all that builds on it.

`request` is judged with its body; `putrequest` where a program writes a request line by line; a tunnel through a proxy
as `host:port` of where it leads.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from vaultak.governor import current
from vaultak.intercept import exchange, web
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.exchange import BYTES, LINE, Exchange
from vaultak.intercept.patching import patch_method, when_imported
from vaultak.wire import ActionType

CLASSIFIERS: dict[str, Classifier] = {}

_MODULE = "http.client"

_open: WeakKeyDictionary[Any, Exchange] = WeakKeyDictionary()
"""By connection."""


def _described(connection: Any, method: object, url: object) -> web.Request:
    if host := getattr(connection, "_tunnel_host", None):
        port = connection._tunnel_port
    else:
        host, port = connection.host, connection.port
    scheme = "https" if getattr(connection, "default_port", None) == web.DEFAULT_PORTS["https"] else "http"
    return web.request(method, web.text_of(url), scheme=scheme, host=web.text_of(host), port=port)


def _requested(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> web.Request:
    """`request(method, url, body=None, headers={})`."""
    named = dict(zip(("method", "url", "body", "headers"), args, strict=False)) | kwargs
    headers = named.get("headers")
    pairs = list(headers.items()) if isinstance(headers, Mapping) else []
    return web.with_body(_described(connection, named["method"], named["url"]), pairs, named.get("body"))


def _put(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> web.Request:
    """`putrequest(method, url)`."""
    named = dict(zip(("method", "url"), args, strict=False)) | kwargs
    return _described(connection, named["method"], named["url"])


def _begun(begun: Exchange, connection: Any, _args: tuple[Any, ...]) -> None:
    _open[connection] = begun


def _tunnelled(o: Occurrence) -> Effects:
    """`CONNECT` to a host beyond the proxy, unless a request to it was judged already."""
    connection = o.args[0]
    asked = web.request("CONNECT", "", host=web.text_of(connection._tunnel_host), port=connection._tunnel_port)
    governor, line = current(), _open.get(connection)
    if governor is None or (line and line.governor is governor and line.request.authority == asked.authority):
        return NONE
    if exchange.covering(governor, 0, asked.authority) is not None:
        return NONE
    return (Effect(ActionType.NETWORK_REQUEST, asked.authority, asked.payload() | {"op": "http.tunnel"}),)


def _patch() -> None:
    owner = sys.modules[_MODULE].HTTPConnection
    patch_method(owner, "request", exchange.sent("http.client.request", LINE, _requested, begun=_begun))
    patch_method(owner, "putrequest", exchange.sent("http.client.putrequest", BYTES, _put, begun=_begun))
    patch_method(owner, "endheaders", exchange.carried(_open))
    patch_method(owner, "getresponse", exchange.answered("status", _open))
    patch_method(owner, "_tunnel", enforce("http.client.tunnel", _tunnelled, on_instance=True))


def patch() -> None:
    """Requests, tunnels and their replies."""
    when_imported(_MODULE, _patch)
