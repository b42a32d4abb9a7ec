"""httpcore, and httpx on it; httpcore2, and httpx2 on that: every request of a pool, sync and async, each hop."""

from __future__ import annotations

import functools
import sys
from typing import Any

from vaultak.intercept import exchange, web
from vaultak.intercept.effect import Classifier
from vaultak.intercept.exchange import CLIENT, Exchange, Reply
from vaultak.intercept.patching import patch_method, when_imported

CLASSIFIERS: dict[str, Classifier] = {}

_PACKAGES = ("httpcore", "httpcore2")


def _described(_pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> web.Request:
    """`handle_request(request)`: the URL is in parts, as bytes."""
    sending = args[0] if args else kwargs["request"]
    url = sending.url
    asked = web.request(
        sending.method,
        web.text_of(url.target),
        scheme=web.text_of(url.scheme),
        host=web.text_of(url.host),
        port=url.port,
    )
    return web.with_body(asked, list(sending.headers), _body(sending.stream))


def _body(stream: object) -> object:
    """What httpx (`_stream`) or httpcore (`_content`) hold of a body that is in memory."""
    for name in ("_stream", "_content"):
        data = getattr(stream, name, None)
        if isinstance(data, bytes):
            return data
    return None


def _reply(_exchange: Exchange, response: Any) -> Reply:
    reason = response.extensions.get("reason_phrase", b"")
    return Reply(int(response.status), web.text_of(reason))


def _patch(package: str) -> None:
    name = f"{package}.handle_request"
    pools = sys.modules[package]
    patch_method(pools.ConnectionPool, "handle_request", exchange.sent(name, CLIENT, _described, _reply))
    patch_method(
        pools.AsyncConnectionPool, "handle_async_request", exchange.sent_async(name, CLIENT, _described, _reply)
    )


def patch() -> None:
    for package in _PACKAGES:
        when_imported(package, functools.partial(_patch, package))
