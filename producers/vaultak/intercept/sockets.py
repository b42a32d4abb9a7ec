"""Sockets: connected, bound, and data sent to a peer.

A connection is one action; what is sent over it belongs to it. Sending over a socket that someone else connected
(before the monitor began, or another agent) is an action of its own, once per agent and socket. Looking a name up is
none, and refused where connecting would be. The resource is `host:port`, with the name the address was resolved from
where that is known.
"""

from __future__ import annotations

import _socket
import os
import socket
import stat
import struct
import sys
from collections import OrderedDict
from typing import Any

from vaultak.governor import current
from vaultak.intercept import held, names, paths
from vaultak.intercept.calls import observe
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.patching import patch_method, when_imported
from vaultak.intercept.plain import plain
from vaultak.wire import ActionType

_family, _type = _socket.socket.family.__get__, _socket.socket.type.__get__
_fileno, _peer, _name = _socket.socket.fileno, _socket.socket.getpeername, _socket.socket.getsockname
"""As the C type says: a subclass may say something else."""

MAX_CONNECTIONS = 8192
"""Connections remembered as judged; sending over one forgotten is an action of its own, nothing else."""

_judged: OrderedDict[tuple[str, int], None] = OrderedDict()
"""Agent and inode of the sockets whose connection was judged for that agent. The kernel does not reuse inodes soon."""


def resource_of(family: int, address: object) -> tuple[str, dict[str, Any]]:
    """`host:port`, `[v6]:port` or `unix:/path` for a socket address, and the numeric address for the payload."""
    address = _plain(address)
    if family == getattr(socket, "AF_UNIX", -1):
        return _unix(address)
    if isinstance(address, tuple) and len(address) >= 2 and family in (socket.AF_INET, socket.AF_INET6):
        host = names.host_text(address[0])
        name = names.name_of(host)
        numeric = _host_port(host, address[1])
        return _host_port(name, address[1]), {"address": numeric} | ({} if name == host else {"resources": [numeric]})
    return f"socket:{family}:{str(address)[:200]}", {}


def _plain(address: object) -> object:
    """An address as C code gets it: a subclass may show Python code another."""
    if isinstance(address, tuple):
        return tuple(plain(part) for part in tuple.__iter__(address))
    return plain(address)


def _host_port(host: str, port: object) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _unix(address: object) -> tuple[str, dict[str, Any]]:
    text = os.fsdecode(address) if isinstance(address, bytes | str) else str(address)
    if text.startswith("\0") or not text:
        return "unix:@" + paths.printable(text[1:]), {}
    return "unix:" + paths.printable(paths.resolve(text) or text), {}


def _effect(sock: socket.socket, address: object, op: str) -> Effect:
    resource, payload = resource_of(_family(sock), address)
    payload |= {"op": op, "transport": "udp" if _type(sock) == socket.SOCK_DGRAM else "tcp"}
    return Effect(ActionType.NETWORK_REQUEST, resource, payload)


def _connected(o: Occurrence) -> Effects:
    sock, address = o.args
    return _joined(sock, _effect(sock, address, o.event))


def _joined(sock: socket.socket, effect: Effect) -> Effects:
    """Once allowed, what this agent sends over the socket belongs to this action."""

    def joined(_action_id: str) -> None:
        if key := _key(_fileno(sock)):
            _judged[key] = None
            while len(_judged) > MAX_CONNECTIONS:
                _judged.popitem(last=False)

    return (effect.but(allowed=joined),)


def _key(fd: int) -> tuple[str, int] | None:
    governor = current()
    try:
        return None if governor is None else (governor.agent_id, os.fstat(fd).st_ino)
    except OSError:
        return None


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def is_judged(fd: int) -> bool:
    """Whether the running agent was judged for the connection of this socket."""
    return _key(fd) in _judged


def sent_through(fd: int, op: str) -> Effects:
    """Writing to a descriptor: to a peer, where it is a socket that the running agent was not judged for."""
    if not _is_socket(fd) or is_judged(fd):
        return NONE
    sock = socket.socket(fileno=fd)
    try:
        family, peer = sock.family, sock.getpeername()
    except OSError:
        return NONE
    finally:
        sock.detach()
    if not peer:
        return NONE
    resource, payload = resource_of(family, peer)
    return (Effect(ActionType.NETWORK_REQUEST, resource, payload | {"op": op, "fd": fd}),)


def _listens(o: Occurrence) -> Effects:
    """Listening without having bound: the kernel chooses a port, at every address."""
    sock = o.args[0]
    if _family(sock) not in (socket.AF_INET, socket.AF_INET6) or _name(sock)[1]:
        return NONE
    return (_effect(sock, (_name(sock)[0], 0), o.event),)


def _handed(o: Occurrence) -> Effects:
    """`sendmsg` with descriptors in it: whoever takes them uses the files."""
    ancillary = o.call.argument(1, "ancdata") if o.call is not None else None
    effects: list[Effect] = []
    for level, kind, data in ancillary if isinstance(ancillary, list | tuple) else ():
        if (level, kind) == (socket.SOL_SOCKET, _RIGHTS):
            numbers = bytes(data)
            for fd in struct.unpack(f"{len(numbers) // _FD_BYTES}i", numbers[: len(numbers) // _FD_BYTES * _FD_BYTES]):
                effects += held.through(fd, o.event, writes=True)
    return (*effects, *_sent(o))


_RIGHTS = getattr(socket, "SCM_RIGHTS", -1)
_FD_BYTES = struct.calcsize("i")


def _addressed(o: Occurrence) -> Effects:
    sock, address = o.args
    if address is None:
        return NONE  # over a connection: seen by the patched method
    return (_effect(sock, address, o.event),)


def _looked_up(o: Occurrence) -> Effects:
    """Looking a name up tells it to whoever serves the name: refused where connecting would be, else no action."""
    forbids = getattr(current(), "forbids", None)
    if forbids is None or o.args[0] in (None, "", b""):
        return NONE
    host = names.host_text(o.args[0])
    port = o.args[1] if len(o.args) > 1 and o.args[1] is not None else 0
    resource = _host_port(host, paths.text(port) if isinstance(port, str | bytes) else port)
    if (_is_local(host) and o.event not in _REVERSE) or not forbids(ActionType.NETWORK_REQUEST, resource, (host,)):
        return NONE
    return (Effect(ActionType.NETWORK_REQUEST, resource, {"op": o.event, "resources": [host]}),)


def _looked_up_in_reverse(o: Occurrence) -> Effects:
    """A name for an address: whoever serves the addresses of a network is told which of them is asked for."""
    given = o.args[0]
    host = names.host_text(given[0] if isinstance(given, tuple) and given else given)
    return NONE if names.is_private(host) else _looked_up(o.but(args=(host,)))


def _is_local(host: str) -> bool:
    """A name that is an address already, or this machine's."""
    return names.is_address(host) or host.rstrip(".").lower() in ("localhost", socket.gethostname().lower())


_REVERSE = ("socket.gethostbyaddr", "socket.getnameinfo")

CLASSIFIERS: dict[str, Classifier] = {
    "socket.getaddrinfo": _looked_up,
    "socket.gethostbyname": _looked_up,
    **dict.fromkeys(_REVERSE, _looked_up_in_reverse),
    "socket.connect": _connected,
    "socket.bind": _addressed,
    "socket.sendto": _addressed,
    "socket.sendmsg": _addressed,
}


def _sent(o: Occurrence) -> Effects:
    """The first sending of an agent over a socket whose connection it was not judged for."""
    sock = o.args[0]
    if is_judged(_fileno(sock)):
        return NONE
    try:
        peer = _peer(sock)
    except OSError:
        return NONE  # not connected: the event of `sendto` has the address
    # A pair of sockets inside this process (wake-up pipes of event loops) has no name and reaches nobody.
    return _joined(sock, _effect(sock, peer, o.event)) if peer else NONE


def patch() -> None:
    """Outcomes of connections, and judgement of what has no event."""
    for name in ("connect", "connect_ex", "bind", "sendto"):
        patch_method(socket.socket, name, observe(f"socket.{name}"))
    for name, classifier in {**dict.fromkeys(("send", "sendall", "sendfile"), _sent), "sendmsg": _handed}.items():
        patch_method(socket.socket, name, enforce(f"socket.{name}", classifier, on_instance=True))
    patch_method(socket.socket, "listen", enforce("socket.listen", _listens, on_instance=True))
    when_imported("ssl", _patch_ssl)


def _patch_ssl() -> None:
    for name in ("send", "sendall", "write"):
        patch_method(sys.modules["ssl"].SSLSocket, name, enforce(f"ssl.{name}", _sent, on_instance=True))
