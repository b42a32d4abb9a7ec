"""What a supervisor is told when it is started, and the messages that pass between it and who started it."""

from __future__ import annotations

import socket
import struct

import msgspec

from vaultak.terms import Terms

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_LENGTH = struct.Struct("=I")


class Order(Terms, frozen=True, kw_only=True, omit_defaults=True):
    """Whom to supervise, and for which agent. `program` empty: the process that sent it, by its own listener."""

    program: bytes = b""
    argv: tuple[bytes, ...] = ()
    group: int = 0
    """Process group of the program: that of whoever waits for it, so that a terminal's signals reach it."""
    env: tuple[tuple[bytes, bytes], ...] = ()
    sources: tuple[str, ...] = ()
    """Directories that the sender imports code from."""
    notes: int = -1
    """Descriptor of the memory that the sender's hook writes its notes to."""
    relays: bool = False
    """Events go back to the sender, which publishes them."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message. To the supervisor, `kind` is `signal` (`number`), `listener` (`number`: its descriptor), `begin`
    (`order`), `over`, `approve` or `deny` (`text`: an action's id or nothing); from it, `failed` (`text`), `exited` or
    `detached` (`number`: exit code), `ready`, `killed` (`text`) or `event`."""

    kind: str
    number: int = 0
    text: str = ""
    order: Order | None = None
    event: tuple[str, bytes, bytes, list[tuple[str, bytes]]] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def send(sock: socket.socket, message: Message) -> None:
    """One message, whole. Not for two threads at a time. Raises `OSError` when the other side is gone."""
    data = _encode(message)
    sock.sendall(_LENGTH.pack(len(data)) + data)


def receive(sock: socket.socket) -> Message | None:
    """The next message; blocks. `None` when the other side is gone. Raises `ValueError` for what is none."""
    header = _exactly(sock, _LENGTH.size)
    if header is None:
        return None
    (size,) = _LENGTH.unpack(header)
    if size > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {size} bytes")
    data = _exactly(sock, size)
    return None if data is None else _decode(data)


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            part = sock.recv(size - len(data))
        except ConnectionResetError:
            return None
        if not part:
            return None
        data += part
    return bytes(data)


def send_order(sock: socket.socket, order: Order) -> None:
    data = msgspec.msgpack.encode(order)
    sock.sendall(_LENGTH.pack(len(data)) + data)


def receive_order(sock: socket.socket) -> Order:
    """Raises `ValueError` for what is no order."""
    header = _exactly(sock, _LENGTH.size)
    data = _exactly(sock, _LENGTH.unpack(header)[0]) if header else None
    if data is None:
        raise ValueError("no order came")
    return msgspec.msgpack.decode(data, type=Order)
