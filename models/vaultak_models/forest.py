"""An isolation forest (Liu, Ting, Zhou 2008) scored by numpy alone, on trees laid out as complete binary heaps.

Scores equal scikit-learn's `IsolationForest.score_samples` to the last few bits, and a row's score does not depend
on which rows are scored with it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EULER_GAMMA = float(np.euler_gamma)
MAX_TREES = 1_000
MAX_DEPTH = 12


class Forest(NamedTuple):
    """Trees as heaps: node `i` has the children `2i+1` and `2i+2`. Shapes (trees, 2**(depth+1)-1).

    `path` is filled on the last level only; from a leaf above it rows fall to the leftmost place below.
    """

    feature: NDArray[np.int32]
    threshold: Floats
    path: Floats
    depth: int
    samples: int

    def score(self, rows: Floats) -> Floats:
        """The anomaly score of each row (n, features): 0..1, higher is odder, 0.5 is average."""
        rows = rows.astype(np.float32).astype(np.float64)  # scikit-learn's trees were grown on float32
        n, trees = rows.shape[0], self.feature.shape[0]
        tree = np.arange(trees)[:, None]
        row = np.arange(n)[None, :]
        node = np.zeros((trees, n), dtype=np.int64)
        for _ in range(self.depth):
            right = rows[row, self.feature[tree, node]] > self.threshold[tree, node]
            node = 2 * node + 1 + right
        # Tree after tree, so that the sum is the same for any number of rows.
        total: Floats = np.add.accumulate(self.path[tree, node], axis=0)[-1]
        result: Floats = 2.0 ** (-total / (trees * average_path(self.samples)))
        return result

    def check(self, features: int) -> None:
        """Raises `ValueError` unless scoring rows of `features` numbers is safe."""
        nodes = 2 ** (self.depth + 1) - 1
        shape = self.feature.shape
        if not 0 < self.depth <= MAX_DEPTH or len(shape) != 2 or not 0 < shape[0] <= MAX_TREES or shape[1] != nodes:
            raise ValueError(f"a forest of shape {shape} and depth {self.depth}")
        if self.threshold.shape != shape or self.path.shape != shape or self.samples < 2:
            raise ValueError("the arrays of the forest do not fit each other")
        if self.feature.min() < 0 or self.feature.max() >= features:
            raise ValueError("the forest splits on a feature that there is not")
        if not np.isfinite(self.path).all() or np.isnan(self.threshold).any():
            raise ValueError("the forest holds numbers that are not finite")


def average_path(samples: float) -> float:
    """The mean path length of an unsuccessful search in a binary tree of `samples` (Liu et al., equation 1)."""
    if samples <= 1:
        return 0.0
    if samples <= 2:
        return 1.0
    return 2.0 * (float(np.log(samples - 1.0)) + EULER_GAMMA) - 2.0 * (samples - 1.0) / samples


def compile_forest(fitted: Any) -> Forest:
    """The heaps of a fitted scikit-learn `IsolationForest` that uses all features in each tree."""
    trees = [estimator.tree_ for estimator in fitted.estimators_]
    depth = max(1, max(tree.max_depth for tree in trees))
    shape = (len(trees), 2 ** (depth + 1) - 1)
    forest = Forest(np.zeros(shape, np.int32), np.full(shape, np.inf), np.zeros(shape), depth, int(fitted.max_samples_))
    for index, tree in enumerate(trees):
        _lay_out(tree, forest, index)
    return forest


def _lay_out(tree: Any, forest: Forest, index: int) -> None:
    """Copy one tree to its heap. Entries are (node of the tree, place in the heap, depth)."""
    todo = [(0, 0, 0)]
    while todo:
        node, place, depth = todo.pop()
        if tree.children_left[node] == -1:
            path = depth + average_path(float(tree.n_node_samples[node]))
            down = forest.depth - depth  # a leaf's row goes left from here: nothing exceeds an infinite threshold
            forest.path[index, (place + 1) * 2**down - 1] = path
            continue
        forest.feature[index, place] = tree.feature[node]
        forest.threshold[index, place] = tree.threshold[node]
        todo.append((int(tree.children_left[node]), 2 * place + 1, depth + 1))
        todo.append((int(tree.children_right[node]), 2 * place + 2, depth + 1))
