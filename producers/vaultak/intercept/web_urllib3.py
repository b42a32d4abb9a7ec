"""urllib3 (1 and 2), and requests on it: every request of a pool, each redirected hop and each retry."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from vaultak.intercept import exchange, web
from vaultak.intercept.effect import Classifier
from vaultak.intercept.exchange import CLIENT, Exchange, Reply
from vaultak.intercept.patching import patch_method, when_imported

CLASSIFIERS: dict[str, Classifier] = {}

_MODULE = "urllib3.connectionpool"


def _described(pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> web.Request:
    """`urlopen(method, url, body=None, headers=None)` of a pool for one host."""
    named = dict(zip(("method", "url", "body", "headers"), args, strict=False)) | kwargs
    headers = named.get("headers")
    headers = getattr(pool, "headers", None) if headers is None else headers
    asked = web.request(
        named["method"], web.text_of(named["url"]), scheme=pool.scheme, host=web.text_of(pool.host), port=pool.port
    )
    return web.with_body(asked, list(headers.items()) if isinstance(headers, Mapping) else [], named.get("body"))


def _reply(_exchange: Exchange, response: Any) -> Reply:
    body = getattr(response, "_body", None)  # there when it was read already; reading it here would take it away
    text = body[: exchange.MAX_CONTENT_CHARS].decode("utf-8", "replace") if isinstance(body, bytes) else ""
    return Reply(int(response.status), str(response.reason or ""), text)


def _patch() -> None:
    owner = sys.modules[_MODULE].HTTPConnectionPool
    patch_method(owner, "urlopen", exchange.sent("urllib3.urlopen", CLIENT, _described, _reply))


def patch() -> None:
    when_imported(_MODULE, _patch)
