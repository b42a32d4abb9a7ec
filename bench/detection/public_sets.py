"""Public sets of outliers: the compiled forest beside the scikit-learn forest that it was made from.

The sets are those of ADBench that scikit-learn carries along, made by its recipes (one class down-sampled to be the
outliers): WDBC and wine; and digits, a part of its optdigits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score

from bench.timing import say
from vaultak_models.forest import compile_forest


class PublicSet(NamedTuple):
    name: str
    load: Callable[..., Any]
    outliers: int
    """The class that is down-sampled."""
    kept: int


SETS = (
    PublicSet("WDBC", load_breast_cancer, 0, 10),
    PublicSet("wine", load_wine, 0, 10),
    PublicSet("digits", load_digits, 0, 50),
)


def rows_of(one: PublicSet) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rows, shape (n, features), and which of them are outliers, shape (n,)."""
    rows, labels = one.load(return_X_y=True)
    outliers = np.flatnonzero(labels == one.outliers)[: one.kept]
    chosen = np.concatenate([np.flatnonzero(labels != one.outliers), outliers])
    return np.asarray(rows[chosen], dtype=float), np.isin(chosen, outliers)


def compare(one: PublicSet) -> tuple[float, float, float]:
    """Average precision of scikit-learn's forest and of the compiled one, and the largest difference of a score."""
    rows, outliers = rows_of(one)
    fitted = IsolationForest(n_estimators=100, random_state=0).fit(rows)
    theirs, ours = -fitted.score_samples(rows), compile_forest(fitted).score(rows)
    precision = [float(average_precision_score(outliers, scores)) for scores in (theirs, ours)]
    return precision[0], precision[1], float(np.abs(theirs - ours).max())


def report() -> None:
    say("\n### public sets of outliers\n")
    say("| set | rows | outliers | AP, scikit-learn | AP, compiled | largest difference of a score |")
    say("|---|---|---|---|---|---|")
    for one in SETS:
        rows, outliers = rows_of(one)
        theirs, ours, difference = compare(one)
        say(f"| {one.name} | {len(rows)} | {outliers.sum()} | {theirs:.3f} | {ours:.3f} | {difference:.1e} |")
