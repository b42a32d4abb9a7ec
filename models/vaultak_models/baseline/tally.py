"""Counts of things by name, bounded: the rarest make room."""

from __future__ import annotations

import math
from collections.abc import Iterator

Tally = dict[str, float]


def add(tally: Tally, name: str, limit: int, amount: float = 1.0) -> None:
    """Count `name`. At `limit` names the least counted eighth is forgotten."""
    if name not in tally and len(tally) >= limit:
        for rare in sorted(tally, key=lambda key: (tally[key], key))[: max(1, limit // 8)]:
            del tally[rare]
    tally[name] = tally.get(name, 0.0) + amount


def surprise(tally: Tally, name: str, total: float, alternatives: int) -> float:
    """`-ln p` of `name`, with half a count for each of `alternatives` things that could come (Krichevsky-Trofimov)."""
    return -math.log((max(tally.get(name, 0.0), 0.0) + 0.5) / (max(total, 0.0) + 0.5 * max(2, alternatives)))


def most(tally: Tally, n: int) -> Iterator[str]:
    """The `n` names counted most, ties in order of the alphabet."""
    return iter(sorted(tally, key=lambda key: (-tally[key], key))[:n])
