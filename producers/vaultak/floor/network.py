"""Sockets: connected, bound, and sent through to an address.

Done by the supervisor on a copy of the caller's socket, with the address as it was judged. Sending over a connection
belongs to its `connect`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator

from vaultak.floor import kernel
from vaultak.floor.opening import AT_FDCWD
from vaultak.floor.places import Place
from vaultak.floor.plan import PASS, Answer, Plan, Request, passing
from vaultak.intercept.effect import Effect
from vaultak.intercept.paths import printable
from vaultak.wire import ActionType

_MAX_ADDRESS = 128
_MAX_DATAGRAM = 65_536
_MAX_MESSAGES = 1024
_DNS = 53
_MESSAGE = struct.Struct("=QIxxxxQQQQi4x")
_MULTIPLE = _MESSAGE.size + 8
_QUIET = frozenset({socket.AF_UNSPEC, socket.AF_NETLINK})
"""Ending an association, and asking the kernel for its tables: nobody is reached."""

_Act = Callable[[int, bytes], int]


def _address(r: Request, address: int, length: int) -> bytes:
    if not 2 <= length <= _MAX_ADDRESS:
        raise OSError(errno.EINVAL, "bad length of an address")
    return r.tracee.read(address, length)


def _family(address: bytes) -> int:
    return int.from_bytes(address[:2], "little")


def _inet(address: bytes) -> tuple[str, int] | None:
    """Host and port, of an address of the internet."""
    family, size = _family(address), len(address)
    if family == socket.AF_INET and size >= 8:
        host = socket.inet_ntop(socket.AF_INET, address[4:8])
    elif family == socket.AF_INET6 and size >= 24:
        host = socket.inet_ntop(socket.AF_INET6, address[8:24])
        host = host.removeprefix("::ffff:") if "." in host else host
    else:
        return None
    return host, int.from_bytes(address[2:4], "big")


def _unix_name(address: bytes) -> bytes:
    name = address[2:]
    return name if name[:1] == b"\0" else name.split(b"\0", 1)[0]


def _effect(resource: str, op: str) -> Effect:
    return Effect(ActionType.NETWORK_REQUEST, resource, {"op": op})


def _towards(r: Request, fd: int, address: bytes, act: _Act) -> Plan:
    """The plan for reaching `address` through the caller's socket `fd`."""
    family = _family(address)
    if family in _QUIET:
        return passing()
    if family == socket.AF_UNIX:
        return _towards_unix(r, fd, _unix_name(address), act)
    blocks = _may_block(r, fd)
    inet = _inet(address)
    if inet is None:
        return Plan((_effect(f"socket:{family}:{address[2:].hex()}", r.name),), _on_copy(r, fd, address, act), blocks)
    host, port = inet
    resource = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # Port 0 is where resolvers ask which route an address would take: nothing is sent.
    effects = (_effect(resource, r.name),) if port else ()
    return Plan(effects, _on_copy(r, fd, address, act), blocks, system=port == _DNS and host in name_servers())


def _towards_unix(r: Request, fd: int, name: bytes, act: _Act) -> Plan:
    abstract = name[:1] == b"\0" or not name
    if abstract:
        resource, address = "unix:@" + printable(os.fsdecode(name[1:])), struct.pack("=H", socket.AF_UNIX) + name
    else:
        place = r.finder.find(AT_FDCWD, name)
        if place.stat() is None:
            raise OSError(errno.ENOENT, "no such socket")
        resource, address = "unix:" + printable(place.path), _unix_address(place)
    return Plan((_effect(resource, r.name),), _on_copy(r, fd, address, act), _may_block(r, fd))


def _unix_address(place: Place) -> bytes:
    return struct.pack("=H", socket.AF_UNIX) + os.fsencode(place.link) + b"\0"


def _on_copy(r: Request, fd: int, address: bytes, act: _Act) -> Callable[[], Answer]:
    def perform() -> Answer:
        with r.tracee.descriptor(fd) as own:
            return act(own, address)

    return perform


def _may_block(r: Request, fd: int) -> bool:
    with r.tracee.descriptor(fd) as own:
        return os.get_blocking(own)


def name_servers() -> frozenset[str]:
    """The resolvers that this machine is configured with."""
    try:
        with open("/etc/resolv.conf", encoding="ascii", errors="replace") as f:
            lines = [line.split() for line in f]
    except OSError:
        return frozenset()
    return frozenset(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")


def _connect(r: Request) -> Plan:
    def act(fd: int, address: bytes) -> int:
        kernel.connect(fd, address)
        return 0

    return _towards(r, r[0], _address(r, r[1], r.integer(2)), act)


def _sendto(r: Request) -> Plan:
    address, size, flags = _address(r, r[4], r.integer(5)), r[2], r.integer(3)
    if size > _MAX_DATAGRAM:
        raise OSError(errno.EMSGSIZE, "message too long")
    data = r.tracee.read(r[1], size) if size else b""
    return _towards(r, r[0], address, lambda fd, to: kernel.send_to(fd, data, flags, to))


def _bind(r: Request) -> Plan:
    address = _address(r, r[1], r.integer(2))
    family, inet = _family(address), _inet(address)
    if family in _QUIET:
        return passing()
    if inet is None:
        name = _unix_name(address)
        if family != socket.AF_UNIX or not name:
            return passing()
        where = "@" + os.fsdecode(name[1:]) if name[:1] == b"\0" else r.finder.find(AT_FDCWD, name, follow=False).path
        return Plan((_effect("unix:" + printable(where), r.name),), lambda: PASS, needs_rights=False)
    host, port = inet

    def act(fd: int, to: bytes) -> int:
        kernel.bind(fd, to)
        return 0

    resource = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Plan((_effect(resource, r.name),), _on_copy(r, r[0], address, act))


def _sendmsg(r: Request) -> Plan:
    return _messages(r, [_MESSAGE.unpack(r.tracee.read(r[1], _MESSAGE.size))])


def _sendmmsg(r: Request) -> Plan:
    count = min(r.integer(2), _MAX_MESSAGES)
    if count <= 0:
        return passing()
    data = r.tracee.read(r[1], count * _MULTIPLE)
    return _messages(r, [_MESSAGE.unpack_from(data, i * _MULTIPLE) for i in range(count)])


def _messages(r: Request, headers: list[tuple[int, ...]]) -> Plan:
    """Messages may carry descriptors and credentials, which only the caller can send: the kernel goes on itself."""
    plans = [_towards(r, r[0], address, _unused) for address in _addresses(r, headers)]
    effects = tuple({effect.resource: effect for plan in plans for effect in plan.effects}.values())
    system = bool(plans) and all(plan.system for plan in plans)
    return Plan(effects, lambda: PASS, needs_rights=False, system=system)


def _addresses(r: Request, headers: list[tuple[int, ...]]) -> Iterator[bytes]:
    for address, length, *_ in headers:
        if address and length:
            yield _address(r, address, length)


def _unused(_fd: int, _address: bytes) -> int:
    raise AssertionError("the kernel sends messages itself")


HANDLERS = {"connect": _connect, "bind": _bind, "sendto": _sendto, "sendmsg": _sendmsg, "sendmmsg": _sendmmsg}
