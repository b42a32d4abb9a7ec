"""Which tools an agent used for which requests: what a request gives reason for."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

MAX_PAST = 48
MAX_WORDS = 40
MAX_KINDS = 16
SHARPNESS = 3.0
"""How much more a very similar request says than a vaguely similar one."""
PRIOR = 0.02
"""The weight of what the agent does on the whole, against a request quite like this one (1)."""


class Past(msgspec.Struct, array_like=True):
    """A request and what was done about it."""

    words: list[int]
    """Tokens, at most `MAX_WORDS`, rising."""
    sessions: int = 0
    kinds: dict[int, int] = {}
    """In how many sessions each kind of action was used."""


class Requests(msgspec.Struct, array_like=True):
    """The last `MAX_PAST` different requests."""

    past: list[Past] = []

    def learn(self, request: Iterable[int], kinds: Iterable[int]) -> None:
        """A session is over: its request and the kinds of action that it took."""
        words = sorted(set(request))[:MAX_WORDS]
        if not words:
            return
        entry = next((past for past in self.past if past.words == words), None)
        if entry is None:
            entry = Past(words)
        else:
            self.past.remove(entry)
        self.past.append(entry)
        del self.past[:-MAX_PAST]
        entry.sessions += 1
        for kind in kinds:
            if kind in entry.kinds or len(entry.kinds) < MAX_KINDS:
                entry.kinds[kind] = entry.kinds.get(kind, 0) + 1

    @property
    def sessions(self) -> int:
        return sum(past.sessions for past in self.past)

    def weights(self, request: Iterable[int]) -> list[float]:
        """How like each past request this one is, 0..1: the shared words, rare ones counting more, over all words."""
        words = set(sorted(set(request))[:MAX_WORDS])
        frequency: dict[int, int] = {}
        for past in self.past:
            for word in past.words:
                frequency[word] = frequency.get(word, 0) + 1
        total = len(self.past)
        unseen = math.log(1.0 + total)
        weight = {word: math.log(1.0 + total / n) for word, n in frequency.items()}
        mine = sum(weight.get(word, unseen) for word in sorted(words))
        result = []
        for past in self.past:
            shared = sum(weight[word] for word in past.words if word in words)
            union = mine + sum(weight[word] for word in past.words) - shared
            result.append((shared / union) ** SHARPNESS if union > 0 else 0.0)
        return result

    def plausibility(self, weights: list[float], kind: int) -> tuple[float, float]:
        """(The share of sessions with such a request that use this kind, the weight of the evidence)."""
        used = every = 0.0
        for past, weight in zip(self.past, weights, strict=True):
            every += weight * past.sessions
            used += weight * past.kinds.get(kind, 0)
        sessions = self.sessions
        base = sum(past.kinds.get(kind, 0) for past in self.past) / sessions if sessions else 0.0
        return (used + PRIOR * base) / (every + PRIOR), every
