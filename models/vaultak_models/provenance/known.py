"""Values that an agent has used before, each in its place."""

from __future__ import annotations

import msgspec

from vaultak_models.provenance.tokens import token_id

MAX_KNOWN = 1_024


class Known(msgspec.Struct, array_like=True):
    """Values that earlier sessions used, by place; the least recent make room."""

    values: dict[int, int] = {}

    def has(self, place: int) -> bool:
        return place in self.values

    def learn(self, places: list[int]) -> None:
        for place in places:
            self.values[place] = self.values.pop(place, 0) + 1
        while len(self.values) > MAX_KNOWN:
            del self.values[next(iter(self.values))]


def place_of(member: str, value: str) -> int:
    """A value in its place: the same account is another thing as sender and as receiver."""
    return token_id(f"{member[:64]}={value[:256].lower()}")
