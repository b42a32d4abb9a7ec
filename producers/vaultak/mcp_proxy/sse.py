"""Server-sent events, as much of them as MCP uses. What goes on is written anew from what was read: an event that two
readers take for different ones does not get through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
_MARK: Final = b"\xef\xbb\xbf"
_FIELDS: Final = (b"id", b"event", b"retry", b"data")


class Event(NamedTuple):
    raw: bytes
    """As it goes on."""
    data: bytes
    """Empty for a comment or a ping."""


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Lines end with CR LF, LF or CR. Raises `ValueError` for an event that is too long."""
    held, begun = b"", False
    async for chunk in chunks:
        held += chunk
        if not begun and len(held) >= len(_MARK):
            held, begun = held.removeprefix(_MARK), True
        # A CR at the end may be the first half of a CR LF.
        whole, held = (held[:-1], b"\r") if held.endswith(b"\r") else (held, b"")
        *blocks, rest = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n")
        for block in blocks:
            yield _event(block)
        held = rest + held
        if len(held) > MAX_EVENT_BYTES:
            raise ValueError(f"an event of more than {MAX_EVENT_BYTES} bytes")


def event_of(message: bytes) -> bytes:
    return b"event: message\ndata: %b\n\n" % message


def _event(block: bytes) -> Event:
    fields = [
        (name, value.removeprefix(b" ")) for name, _, value in (line.partition(b":") for line in block.split(b"\n"))
    ]
    known = [(name, value) for name, value in fields if name in _FIELDS]
    if not known:
        return Event(b":\n\n", b"")
    raw = b"".join(b"%b: %b\n" % field for field in known) + b"\n"
    return Event(raw, b"\n".join(value for name, value in known if name == b"data"))
