"""Counts of things by name, bounded: the rarest make room."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, TypeVar

import msgspec

from vaultak_models.baseline.ceiling import bounded

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
        for _, rare in sorted([(times, name) for name, times in tally.items()])[: max(1, limit // 8)]:
            del tally[rare]
    tally[name] = 1


def surprise(times: int, total: int, alternatives: int, slack: float) -> float:
    """`-ln p - slack`, bounded, of what came `times` of `total`.

    With half a count for each of `alternatives` things that could come (Krichevsky-Trofimov).
    """
    return bounded(math.log((total + 0.5 * (alternatives if alternatives > 2 else 2)) / (times + 0.5)) - slack)


def most(tally: dict[K, int], n: int) -> Iterator[K]:
    """The `n` names counted most, ties in order of the alphabet."""
    return iter([name for _, name in sorted([(-times, name) for name, times in tally.items()])[:n]])
