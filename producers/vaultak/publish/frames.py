"""How a message lies in a segment: length, checksum, message. What is torn or foreign is found out, never obeyed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

HEADER = struct.Struct("<II")
"""Length of the body in bytes, CRC-32 of the body. A length of 0 ends what has been written."""

MAX_BODY_BYTES = 1024 * 1024


class Message(msgspec.Struct, frozen=True, array_like=True):
    """What goes to Kafka."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Message)


def encode_body(topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> bytes:
    """A message as it lies in a frame: MessagePack."""
    return _encode((topic, key, value, headers))


def encode_frame(body: bytes) -> bytes:
    return HEADER.pack(len(body), zlib.crc32(body)) + body


def read_frames(buffer: bytes | memoryview, offset: int) -> Iterator[tuple[Message | None, int]]:
    """Messages from `offset` on, each with the offset behind it.

    Ends where nothing more has been written or a frame is torn. A whole frame that does not decode yields `None`.
    """
    size = len(buffer)
    while offset + HEADER.size <= size:
        length, checksum = HEADER.unpack_from(buffer, offset)
        start, end = offset + HEADER.size, offset + HEADER.size + length
        if length == 0 or length > MAX_BODY_BYTES or end > size:
            return
        body = bytes(buffer[start:end])
        if zlib.crc32(body) != checksum:
            return
        offset = end
        try:
            yield _decoder.decode(body), offset
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield None, offset
