"""Which host name an address was looked up under: what lets a policy speak of `api.example.com:443`.

Recorded at the lowest resolver of Python, so every library that resolves through Python is covered. The last name
wins: an address that serves many names is only as trustworthy as its resolver, which is why the address itself is
always in the payload too.
"""

from __future__ import annotations

import _socket
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from vaultak.intercept.patching import patch_function

MAX_NAMES = 4096

NAME_TTL_S = 300.0
"""Clients connect right after resolving; an address used much later says nothing about the name."""

_names: OrderedDict[str, tuple[str, float]] = OrderedDict()


def host_text(host: object) -> str:
    """A host as text: decoded, lower case, no trailing dot, numeric forms such as `127.1` spelt out."""
    if host is None:
        return ""
    text = host.decode("ascii", "backslashreplace") if isinstance(host, bytes | bytearray) else str(host)
    text = text.lower().removesuffix(".") or "0.0.0.0"  # noqa: S104  # an empty host is the wildcard address
    return _canonical_ip(text) or text


def _canonical_ip(text: str) -> str:
    """The one spelling of a numeric address, IPv4 mapped into IPv6 as IPv4; empty for a name."""
    if ":" in text:
        try:
            packed = _socket.inet_pton(_socket.AF_INET6, text.partition("%")[0])
        except OSError:
            return ""
        if packed.startswith(b"\0" * 10 + b"\xff\xff"):
            return _socket.inet_ntoa(packed[12:])
        return _socket.inet_ntop(_socket.AF_INET6, packed)
    if text[:1].isdigit():
        try:
            return _socket.inet_ntoa(_socket.inet_aton(text))
        except OSError:
            return ""
    return ""


def is_address(host: str) -> bool:
    """Whether a host is numeric: nobody is asked for it."""
    return bool(_canonical_ip(host))


def is_private(host: str) -> bool:
    """Whether a host is an address of this machine or of a network of its own."""
    return is_address(host) and ipaddress.ip_address(host.partition("%")[0]).is_private


def remember(host: object, address: str) -> None:
    """A name was resolved to an address. An address asked for as such is no longer known by a name."""
    name = host_text(host)
    if not name or _canonical_ip(name):
        _names.pop(address, None)
        return
    _names[address] = (name, time.monotonic() + NAME_TTL_S)
    _names.move_to_end(address)
    while len(_names) > MAX_NAMES:
        _names.popitem(last=False)


def name_of(address: str) -> str:
    """The name that an address was resolved from lately; the address itself when none is known."""
    name, expires_s = _names.get(address, (address, math.inf))
    return name if time.monotonic() < expires_s else address


forget = _names.clear


def _getaddrinfo(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    found = wrapped(*args, **kwargs)
    host = args[0] if args else kwargs.get("host")
    for _family, _type, _proto, _canonical, address in found:
        if address and isinstance(address[0], str):
            remember(host, host_text(address[0]))
    return found


def _gethostbyname(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    found = wrapped(*args, **kwargs)
    for address in [found] if isinstance(found, str) else found[2]:
        remember(args[0], address)
    return found


def patch() -> None:
    patch_function(("_socket",), "getaddrinfo", _getaddrinfo)
    for name in ("gethostbyname", "gethostbyname_ex"):
        patch_function(("socket", "_socket"), name, _gethostbyname)
