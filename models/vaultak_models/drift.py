"""How far the features of today's actions are from those a model was trained on: the population stability index.

`PSI = sum((a - e) * ln(a / e))` over bins, with `e` the share of the training rows in a bin and `a` today's. By the
usual reading below 0.1 nothing has changed, above 0.25 the model no longer fits (N. Siddiqi,
Credit Risk Scorecards, 2006).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from vaultak_models.features import FEATURES
from vaultak_models.forest import Floats

BINS = 10
LEAST_SHARE = 1e-4
"""Of a bin: an empty one would make the index infinite."""
NOTABLE, DRIFTED = 0.1, 0.25


class Distribution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One feature over the training rows: the share of rows up to each edge, and above the last."""

    name: str
    edges: tuple[float, ...]
    shares: tuple[float, ...]

    def check(self) -> None:
        """Raises `ValueError` unless the index can be computed with it."""
        numbers = (*self.edges, *self.shares)
        if (
            len(self.shares) != len(self.edges) + 1
            or len(self.shares) > 10 * BINS
            or not all(map(math.isfinite, numbers))
        ):
            raise ValueError("a distribution of the wrong shape")
        if any(a >= b for a, b in zip(self.edges, self.edges[1:], strict=False)) or min(self.shares) < 0:
            raise ValueError("a distribution that is none")


Reference = tuple[Distribution, ...]


class FeatureDrift(msgspec.Struct, frozen=True):
    """`index` is 0 for no change at all."""

    feature: str
    index: float
    above_before: float
    """The share of the training rows above the highest edge."""
    above_now: float


def reference_of(rows: Floats) -> Reference:
    """Distributions of each feature, from rows of shape (n, features)."""
    return tuple(_distribution(feature.name, rows[:, at]) for at, feature in enumerate(FEATURES))


def drift(reference: Reference, rows: Floats) -> list[FeatureDrift]:
    """The index of each feature that both know, highest first. `rows`: shape (n, features), n > 0."""
    at = {feature.name: index for index, feature in enumerate(FEATURES)}
    found = [_index(known, rows[:, at[known.name]]) for known in reference if known.name in at]
    return sorted(found, key=lambda one: (-one.index, one.feature))


def _distribution(name: str, values: Floats) -> Distribution:
    """Deciles where the values differ; where most are alike, fewer bins, one of them theirs."""
    inner = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[:-1], method="lower"))
    edges = inner if inner[-1] < values.max() or len(inner) == 1 else inner[:-1]
    return Distribution(name, tuple(edges.tolist()), tuple(_shares(values, edges).tolist()))


def _index(known: Distribution, values: Floats) -> FeatureDrift:
    expected = np.maximum(np.array(known.shares), LEAST_SHARE)
    actual = np.maximum(_shares(values, np.array(known.edges)), LEAST_SHARE)
    index = float(((actual - expected) * np.log(actual / expected)).sum())
    return FeatureDrift(known.name, round(index, 4), round(known.shares[-1], 4), round(float(actual[-1]), 4))


def _shares(values: Floats, edges: Floats) -> Floats:
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    result: Floats = counts / len(values)
    return result
