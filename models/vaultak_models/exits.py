"""The same forest scored leaf by leaf: each split rules leaves out, as bits (QuickScorer, Lucchese et al. 2015).

A row starts with all leaves of all trees possible. Each of its features crosses the thresholds below its value, and
each threshold rules out the leaves on its left; the leftmost leaf that is left is where the row ends. A feature that
crosses no threshold costs nothing, and features of ordinary actions are mostly 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaultak_models.forest import Floats, Forest, average_path

Words = NDArray[np.uint64]

BITS = 64
MAX_TABLE_BYTES = 32 * 1024 * 1024
"""Larger forests are scored node by node: their tables would not stay in a processor's cache."""
_CHUNK = 512
"""Rows at a time, so that the words of a chunk stay in cache."""
_ALL = ~np.uint64(0)
_ONE = np.uint64(1)


class Split(NamedTuple):
    """A row whose feature exceeds the threshold goes right: not to the leaves `first` up to, not including, `last`.

    Leaves are numbered through all trees, each tree from a multiple of `BITS` on.
    """

    feature: int
    threshold: float
    first: int
    last: int


class ExitForest:
    """Scores rows of finite numbers as `Forest.score` does, to the last few bits; company does not matter here either.

    Takes a `Forest` that `check` has passed.
    """

    def __init__(self, forest: Forest) -> None:
        """Raises `ValueError` for a forest whose tables would take more than `MAX_TABLE_BYTES`."""
        trees, words = [], 0
        for index in range(forest.feature.shape[0]):
            trees.append(_Tree(forest, index, words))
            words = trees[-1].end
        splits = [split for tree in trees for split in tree.splits]
        if len(splits) * words * 8 > MAX_TABLE_BYTES:
            raise ValueError("a forest too large for tables of leaves")
        self._scale = -1.0 / (len(trees) * average_path(forest.samples))
        # One place more than bits: a word without any bit left adds nothing.
        self._paths = np.zeros((words, BITS + 1))
        for tree in trees:
            for leaf, path in enumerate(tree.paths):
                self._paths[tree.start + leaf // BITS, leaf % BITS] = path
        self._first = np.arange(words) * (BITS + 1)
        self._columns = _columns(splits, words)
        self._continued = [(tree.start, word) for tree in trees for word in range(tree.start + 1, tree.end)]

    def score(self, rows: Floats) -> Floats:
        """The anomaly score of each row (n, features): 0..1, higher is odder, 0.5 is average."""
        rows = rows.astype(np.float32).astype(np.float64)  # scikit-learn's trees were grown on float32
        if len(rows) <= _CHUNK:
            return self._score(rows)
        return np.concatenate([self._score(rows[i : i + _CHUNK]) for i in range(0, len(rows), _CHUNK)])

    def _score(self, rows: Floats) -> Floats:
        left = np.full((len(rows), len(self._first)), _ALL)
        for feature, thresholds, masks in self._columns:
            crossed = thresholds.searchsorted(rows[:, feature])
            who = crossed.nonzero()[0]
            if len(who) == len(rows):
                left &= masks[crossed]
            elif len(who):
                left[who] &= masks[crossed[who]]
        for start, word in self._continued:
            left[left[:, start:word].any(axis=1), word] = 0
        places = np.bitwise_count((left - _ONE) & ~left) + self._first
        result: Floats = 2.0 ** (self._paths.ravel()[places].sum(axis=1) * self._scale)
        return result


def scorer(forest: Forest) -> Callable[[Floats], Floats]:
    """The fastest way to score with this forest."""
    try:
        return ExitForest(forest).score
    except ValueError:
        return forest.score


class _Tree:
    """A tree read from left to right. Its leaves take the words from `start` up to, not including, `end`."""

    def __init__(self, forest: Forest, index: int, start: int) -> None:
        self.start = start
        self.paths: list[float] = []
        self.splits: list[Split] = []
        self._feature, self._threshold = forest.feature[index].tolist(), forest.threshold[index].tolist()
        self._path, self._inner = forest.path[index].tolist(), 2**forest.depth - 1
        self._read(0)

    @property
    def end(self) -> int:
        return self.start + -(-len(self.paths) // BITS)

    def _read(self, place: int) -> None:
        while place < self._inner and self._threshold[place] == np.inf:  # nothing goes right from here
            place = 2 * place + 1
        if place >= self._inner:
            self.paths.append(self._path[place])
            return
        before = self.start * BITS
        first = len(self.paths)
        self._read(2 * place + 1)
        last = len(self.paths)
        self.splits.append(Split(self._feature[place], self._threshold[place], before + first, before + last))
        self._read(2 * place + 2)


def _columns(splits: list[Split], words: int) -> list[tuple[int, Floats, Words]]:
    """Per feature that is split on: its thresholds, rising, and the leaves left when the first k are crossed."""
    found = []
    for feature in sorted({split.feature for split in splits}):
        mine = [split for split in splits if split.feature == feature]
        thresholds = np.unique([split.threshold for split in mine])
        masks = np.full((len(thresholds) + 1, words), _ALL)
        for split in mine:
            row = masks[int(thresholds.searchsorted(split.threshold)) + 1]
            for word in range(split.first // BITS, -(-split.last // BITS)):
                row[word] &= ~_bits(split.first - word * BITS, split.last - word * BITS)
        found.append((feature, thresholds, np.bitwise_and.accumulate(masks, axis=0)))
    return found


def _bits(first: int, last: int) -> np.uint64:
    """The bits of one word from `first` up to, not including, `last`; both may lie outside it."""
    first, last = max(first, 0), min(last, BITS)
    return np.uint64(((1 << last) - 1) ^ ((1 << first) - 1))
