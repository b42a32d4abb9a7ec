"""What an HTTP request is to a policy: a normalised URL, and a payload that says what is sent.

The resource is `scheme://host[:port]/path`: lower-case host, no credentials, no default port, no query, no fragment,
and no percent-encoding of characters that need none (`/%61dmin` is `/admin`). The query, the body and the names of the
headers are in the payload, where secrets are taken out by name. `host:port` and `host` are further resources, so that
a block of either holds too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
MAX_QUERY_CHARS = 4096
MAX_BODY_BYTES = 8192
"""Of a body, in the payload; the whole event is capped as well."""
MAX_FIELDS = 100
MAX_HEADERS = 100
MAX_URL_CHARS = 8192
MAX_HOST_CHARS = 260
_READ = ("content-type", "content-length", "host")
"""The headers whose values are looked at."""

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Request(NamedTuple):
    """One request as it is about to be sent."""

    method: str
    scheme: str
    host: str
    """Lower case; IPv6 without brackets."""
    port: int
    path: str
    query: str
    headers: tuple[str, ...] = ()
    """Names only."""
    content_type: str = ""
    body: bytes | None = None
    """Where it is in memory; at most `MAX_BODY_BYTES` of it."""
    body_bytes: int | None = None
    """Length of the whole body; `None` for a stream."""
    library: str = ""
    named_host: str = ""
    """What the `Host` header says, where that is another host than the one connected to."""

    @property
    def resource(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if DEFAULT_PORTS.get(self.scheme) == self.port else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def authority(self) -> str:
        """`host:port`, `[v6]:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def payload(self) -> dict[str, Any]:
        """What goes on record; secrets are taken out of it where all payloads are."""
        payload: dict[str, Any] = {
            "op": "http.request",
            "method": self.method,
            "host": self.host,
            "port": self.port,
            "resources": [self.authority, self.host],
        }
        if self.named_host:
            payload["resources"].append(self.named_host)
        if self.library:
            payload["library"] = self.library
        if self.query:
            payload["query"] = fields_of(self.query[:MAX_QUERY_CHARS])
        if self.headers:
            payload["headers"] = list(self.headers)
        if self.body_bytes is not None:
            payload["body_bytes"] = self.body_bytes
        if self.body:
            payload["body"] = shown_body(self.body, self.content_type)
        return payload


def request(method: object, url: str, *, scheme: str = "", host: str = "", port: int | None = None) -> Request:
    """A request for `url`: absolute, or a path on `scheme://host:port`. Never raises for a hostile URL."""
    target = url[:MAX_URL_CHARS]
    if _ABSOLUTE.match(target):
        scheme, host, port, target = _split(target)
    elif target.startswith("//") and not host:
        scheme, host, port, target = _split(f"{scheme}:{target}")
    scheme = scheme.lower()
    host = host.rpartition("@")[2].strip("[]").lower().rstrip(".")
    path, _, query = target.partition("#")[0].partition("?")
    return Request(
        method=text_of(method).upper()[:32],
        scheme=scheme,
        host=host,
        port=DEFAULT_PORTS.get(scheme, 0) if port is None else port,
        path=normal_path(path),
        query=query,
    )


def _split(url: str) -> tuple[str, str, int | None, str]:
    """Scheme, host, port and request target of an absolute URL."""
    scheme, _, rest = url.partition("://")
    end = min((i for i in map(rest.find, "/?#\\") if i >= 0), default=len(rest))
    authority, target = rest[:end].rpartition("@")[2], rest[end:]
    host, colon, digits = authority.rpartition(":")
    if colon and digits.isascii() and digits.isdigit() and len(digits) <= 5:
        return scheme, host, int(digits), target
    return scheme, host if colon and not digits else authority, None, target


def normal_path(path: str) -> str:
    """The path with a leading `/` and without needless escapes: equal paths are spelt alike."""
    if "%" in path:
        path = _ESCAPE.sub(_plain, path)
    return path if path.startswith("/") else "/" + path


def _plain(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if char in _UNRESERVED else found[0].upper()


def with_body(asked: Request, headers: Iterable[tuple[object, object]], body: object) -> Request:
    """The request with its headers' names and, where it is in memory, its body."""
    named = [(text_of(name).lower(), value) for name, value in headers]
    values = {name: text_of(value) for name, value in named if name in _READ}
    data = body.encode("utf-8", "replace") if isinstance(body, str) else body
    held = bytes(data[:MAX_BODY_BYTES]) if isinstance(data, bytes | bytearray) else None
    if isinstance(data, bytes | bytearray):
        size: int | None = len(data)
    else:
        length = values.get("content-length", "")
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None
    named_host = values.get("host", "")[:MAX_HOST_CHARS].lower()
    return asked._replace(
        named_host="" if named_host in ("", asked.host, asked.authority) else named_host,
        headers=tuple(sorted({name[:128] for name, _ in named})[:MAX_HEADERS]),
        content_type=values.get("content-type", "")[:128],
        body=held,
        body_bytes=size,
    )


def shown_body(body: bytes, content_type: str) -> object:
    """The body as structure where it has one (JSON, form), so that secrets in it have names; as text otherwise."""
    text = body.decode("utf-8", "replace")
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    if "x-www-form-urlencoded" in content_type:
        return fields_of(text)
    return text


def fields_of(query: str) -> object:
    """`name -> value`, or a list of values where a name comes twice; the text itself when it has no such form."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="replace")
    except ValueError:
        return query
    if not pairs:
        return query
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    return fields


def text_of(value: object) -> str:
    """Text of a method, header or URL part, in whatever form a library holds it."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("latin-1")
    return "" if value is None else str(value)
