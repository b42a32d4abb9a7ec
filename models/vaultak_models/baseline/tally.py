"""Counts of things by name, bounded: the rarest make room."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, TypeVar

import msgspec

MAX_COUNT = 2**53
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Tally = dict[str, Count]
K = TypeVar("K", int, str)


def add(tally: dict[K, int], name: K, limit: int) -> None:
    """Count `name`. At `limit` names the least counted eighth is forgotten."""
    times = tally.get(name)
    if times is not None:
        tally[name] = times + 1
        return
    if len(tally) >= limit:
        for rare in sorted(tally, key=lambda key: (tally[key], key))[: max(1, limit // 8)]:
            del tally[rare]
    tally[name] = 1


def surprise(times: int, total: int, alternatives: int) -> float:
    """`-ln p` of what came `times` of `total`, with half a count for each of `alternatives` things that could come
    (Krichevsky-Trofimov)."""
    return math.log((total + 0.5 * (alternatives if alternatives > 2 else 2)) / (times + 0.5))


def most(tally: dict[K, int], n: int) -> Iterator[K]:
    """The `n` names counted most, ties in order of the alphabet."""
    return iter(sorted(tally, key=lambda key: (-tally[key], key))[:n])
