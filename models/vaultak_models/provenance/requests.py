"""Which tools an agent used for which requests: what a request gives reason for."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from weakref import WeakKeyDictionary

import msgspec

from vaultak_models.baseline.tally import Count

MAX_PAST = 48
MAX_WORDS = 40
MAX_KINDS = 16
MAX_OPEN = 4
"""Requests whose weights are kept until another session is learnt from."""
SHARPNESS = 3.0
"""How much more a very similar request says than a vaguely similar one."""
PRIOR = 0.02
"""The weight of what the agent does on the whole, against a request quite like this one (1)."""


class Past(msgspec.Struct, array_like=True):
    """A request and what was done about it."""

    words: list[int]
    """Tokens, at most `MAX_WORDS`, rising."""
    sessions: Count = 0
    kinds: dict[int, Count] = {}
    """In how many sessions each kind of action was used."""


class Requests(msgspec.Struct, array_like=True, weakref=True, eq=False):
    """The last `MAX_PAST` different requests."""

    past: list[Past] = []
    sessions: Count = 0
    """Over all of `past`."""

    def learn(self, request: Iterable[int], kinds: Iterable[int]) -> None:
        """A session is over: its request and the kinds of action that it took."""
        words = sorted(set(request))[:MAX_WORDS]
        if not words:
            return
        _KNOWN_WEIGHTS.pop(self, None)
        entry = next((past for past in self.past if past.words == words), None)
        if entry is None:
            entry = Past(words)
        else:
            self.past.remove(entry)
        self.past.append(entry)
        if len(self.past) > MAX_PAST:
            self.sessions = max(0, self.sessions - self.past.pop(0).sessions)
        entry.sessions += 1
        self.sessions += 1
        for kind in kinds:
            if kind in entry.kinds or len(entry.kinds) < MAX_KINDS:
                entry.kinds[kind] = entry.kinds.get(kind, 0) + 1

    def weights(self, request: Iterable[int]) -> list[float]:
        """How like each past request this one is, 0..1: the shared words, rare ones counting more, over all words."""
        known = _KNOWN_WEIGHTS.setdefault(self, {})
        key = tuple(request)
        weights = known.get(key)
        if weights is None:
            if len(known) >= MAX_OPEN:
                known.clear()
            weights = known[key] = self._weigh(key)
        return weights

    def _weigh(self, request: Iterable[int]) -> list[float]:
        words = set(sorted(set(request))[:MAX_WORDS])
        frequency = Counter(itertools.chain.from_iterable(past.words for past in self.past))
        total = len(self.past)
        unseen = math.log(1.0 + total)
        weight = {word: math.log(1.0 + total / n) for word, n in frequency.items()}
        mine = sum(weight.get(word, unseen) for word in sorted(words))
        result = []
        for past in self.past:
            shared = sum(map(weight.__getitem__, sorted(words.intersection(past.words))))
            union = mine + sum(map(weight.__getitem__, past.words)) - shared
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


_KNOWN_WEIGHTS: WeakKeyDictionary[Requests, dict[tuple[int, ...], list[float]]] = WeakKeyDictionary()
"""What `weights` said since the last session that was learnt from."""
