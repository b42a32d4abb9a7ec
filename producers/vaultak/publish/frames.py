"""How a message lies in a segment: marker, length, checksum, message. What is torn or foreign is never obeyed.

The marker is its spool's own, so that nobody who writes the text of a message can put a frame inside it: behind damage
the reading goes on at the next marker whose checksum holds.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from mmap import mmap

import msgspec

HEADER = struct.Struct("<III")
"""The marker of the spool, length of the body in bytes, CRC-32 of the body. Zeros: nothing has been written here."""

MAX_BODY_BYTES = 1024 * 1024

SCAN_BYTES = 16 * 1024 * 1024
"""How much is checksummed in search of the next frame of one segment: a hostile file costs milliseconds, not hours."""

_BLANK = bytes(HEADER.size)


class Message(msgspec.Struct, frozen=True, array_like=True):
    """What goes to Kafka."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Damage(msgspec.Struct, frozen=True):
    """A stretch of a segment that holds no message: broken frames in a row, or one that does not decode."""

    size_bytes: int


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Message)


def encode_body(topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> bytes:
    """A message as it lies in a frame: MessagePack."""
    return _encode((topic, key, value, headers))


def decode_body(body: bytes) -> Message | None:
    """The message; `None` when it is none."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def marker_of(name: str) -> int:
    """The marker of the spool of this name, 32 bits and never 0."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:4], "little") | 1


def encode_frame(body: bytes, marker: int) -> bytes:
    return HEADER.pack(marker, len(body), zlib.crc32(body)) + body


def read_frames(buffer: bytes | mmap, marker: int, offset: int, end: int) -> Iterator[tuple[Message | Damage, int]]:
    """What lies between `offset` and `end`, each with the offset behind it, in order.

    Ends where nothing more has been written. Whatever is neither a frame nor the blank rest is `Damage`, one for each
    stretch; frames behind it are found again.
    """
    budget = SCAN_BYTES
    sign = HEADER.pack(marker, 0, 0)[:4]
    while offset + HEADER.size <= end:
        body = _body_at(buffer, marker, offset, end)
        start = offset
        if body is None:
            offset, budget = _next_frame(buffer, marker, sign, start + 1, end, budget)
            if offset < end or buffer[start : start + HEADER.size] != _BLANK:
                yield Damage(offset - start), offset
            continue
        offset += HEADER.size + len(body)
        yield decode_body(body) or Damage(offset - start), offset


def _body_at(buffer: bytes | mmap, marker: int, offset: int, end: int) -> bytes | None:
    """The body of the frame at `offset`, `None` when there is no whole one."""
    found, length, checksum = HEADER.unpack_from(buffer, offset)
    start = offset + HEADER.size
    if found != marker or not 0 < length <= MAX_BODY_BYTES or start + length > end:
        return None
    body = bytes(buffer[start : start + length])
    return body if zlib.crc32(body) == checksum else None


def _next_frame(buffer: bytes | mmap, marker: int, sign: bytes, offset: int, end: int, budget: int) -> tuple[int, int]:
    """Where the next frame begins (`end` when there is none, or none within the budget), and what is left of that."""
    while budget > 0:
        offset = buffer.find(sign, offset, end)
        if offset < 0 or offset + HEADER.size > end:
            break
        if _body_at(buffer, marker, offset, end) is not None:
            return offset, budget
        length = HEADER.unpack_from(buffer, offset)[1]
        budget -= HEADER.size + (length if length <= MAX_BODY_BYTES else 0)
        offset += 1
    return end, budget
