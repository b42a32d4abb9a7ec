"""Values that an agent has used before, each in its place."""

from __future__ import annotations

import struct
from typing import Annotated

import msgspec

from vaultak_models.provenance.tokens import text_id

MAX_KNOWN = 1_024
WIDTH = 4
"""Bytes of a place."""
Place = Annotated[int, msgspec.Meta(ge=0, lt=2 ** (8 * WIDTH))]


class Known(msgspec.Struct, array_like=True):
    """Values that earlier sessions used, by place; the least recent make room.

    Kept as bytes, the most recent last: 4 KiB where a dictionary takes 60, and it is asked seldom.
    """

    places: bytes = b""

    def has(self, place: int) -> bool:
        name = place.to_bytes(WIDTH, "little")
        at = self.places.find(name)
        while at % WIDTH and at >= 0:  # across two others
            at = self.places.find(name, at + 1)
        return at >= 0

    def learn(self, places: list[int]) -> None:
        """A session used these, in this order."""
        if not places:
            return
        new = dict.fromkeys(reversed(places))
        kept = [place for place in struct.unpack(f"<{len(self.places) // WIDTH}I", self.places) if place not in new]
        kept = [*kept, *reversed(new)][-MAX_KNOWN:]
        self.places = struct.pack(f"<{len(kept)}I", *kept)


def place_of(member: str, value: str) -> int:
    """A value in its place: the same account is another thing as sender and as receiver."""
    return text_id(f"{member[:64]}={value[:256].lower()}")
