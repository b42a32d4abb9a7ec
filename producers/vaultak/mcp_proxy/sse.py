"""Server-sent events, as much of them as MCP uses: each event as it came, and the message that it carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024


class Event(NamedTuple):
    raw: bytes
    data: bytes
    """Empty for a comment or a ping."""


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Raises `ValueError` for an event that is too long."""
    held = b""
    async for chunk in chunks:
        held += chunk.replace(b"\r\n", b"\n")
        while (end := held.find(b"\n\n")) >= 0:
            raw, held = held[: end + 2], held[end + 2 :]
            yield _event(raw)
        if len(held) > MAX_EVENT_BYTES:
            raise ValueError(f"an event of more than {MAX_EVENT_BYTES} bytes")
    if held.strip():
        yield _event(held + b"\n\n")


def event_of(message: bytes) -> bytes:
    return b"event: message\ndata: %b\n\n" % message


def _event(raw: bytes) -> Event:
    data = [line[5:].removeprefix(b" ") for line in raw.split(b"\n") if line.startswith(b"data:")]
    return Event(raw, b"\n".join(data))
