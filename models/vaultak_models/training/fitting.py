"""From rows to a model: a forest on one part of the sessions, its calibration on another, bounded by an anchor."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from vaultak.errors import VaultakError
from vaultak_models.drift import Reference, reference_of
from vaultak_models.forest import Floats
from vaultak_models.model import RiskModel
from vaultak_models.risk import evidence, figure
from vaultak_models.train import SEED, fit, tail_table
from vaultak_models.training.sample import Row, order_of

MIN_ROWS = 1_000
"""A third of it calibrates: what is rarer than three in a hundred actions is reckoned from the slope before."""
CALIBRATION_PART = 3
"""One session in three calibrates; the forest is fitted on the others."""
WEAKENING_DECADES = 1.0
"""How much more ordinary than to the anchor anything may look to a trained model: ten times as frequent, however
often one trains and whatever the window held."""
ORDINARY_BAD_SHARE = 0.001
"""Rows left out count as ordinary odd ones up to this share. Without them each training would find a little less
ordinary than the one before; with all of them an attack that was noticed would make room for itself."""
_CHUNK = 1_000


class TooLittleError(VaultakError):
    """Not enough to train with."""


class Fitted(msgspec.Struct, frozen=True):
    """A model that is not saved yet, and what it was fitted on."""

    model: RiskModel
    reference: Reference
    """How each feature was distributed, for drift."""
    metrics: dict[str, float]
    """`rows`, `rows_left_out`, `calibration_rows`; `odd_share` and `odd_share_before`: the share of the fitted rows
    with evidence of 0.7 or more, by this model and by the anchor; `figure_1_percent`, `figure_0_1_percent`."""


def fit_model(rows: Sequence[Row], left_out: int, anchor: RiskModel, seed: int = SEED) -> Fitted:
    """A model of these rows. The same rows give the same model. Raises `TooLittleError`."""
    if len(rows) < MIN_ROWS:
        raise TooLittleError(
            f"only {len(rows):,} actions of agents with a baseline to train with, {left_out:,} left out as bad; "
            f"at least {MIN_ROWS:,} are needed"
        )
    calibrates = np.array([order_of(row.agent_id, row.session_id) % CALIBRATION_PART == 0 for row in rows])
    measures = np.array([row.measures for row in rows])
    training, calibration = measures[~calibrates], measures[calibrates]
    if min(len(training), len(calibration)) < MIN_ROWS // 10:
        raise TooLittleError("nearly all actions are of one session: more sessions are needed to calibrate on")
    forest = fit(training, seed)
    extra = int(min(left_out / CALIBRATION_PART, ORDINARY_BAD_SHARE * len(calibration)))
    tail = calibration.sum(axis=1)
    figures = figure(tail, _scores(forest.score, calibration))
    knots = _anchored(*tail_table(_with_odd(figures, extra)), anchor.knots, anchor.exceedance)
    tails = _anchored(*tail_table(_with_odd(tail, extra)), anchor.tail_knots, anchor.tail_exceedance)
    model = RiskModel("unsaved", forest, *knots, *tails)
    return Fitted(model, reference_of(measures), _metrics(model, anchor, training, calibration, figures, left_out))


def _scores(score: object, rows: Floats) -> Floats:
    assert callable(score)
    return np.concatenate([score(rows[at : at + _CHUNK]) for at in range(0, len(rows), _CHUNK)])


def _with_odd(figures: Floats, extra: int) -> Floats:
    return np.append(figures, np.full(extra, figures.max()))


def _anchored(
    knots: Floats, exceedance: Floats, anchor_knots: Floats, anchor_exceedance: Floats
) -> tuple[Floats, Floats]:
    """The table, raised to where it would weaken the anchor's by more than `WEAKENING_DECADES`."""
    union = np.unique(np.concatenate([knots, anchor_knots]))
    own = np.interp(union, knots, exceedance)
    least = np.interp(union, anchor_knots, anchor_exceedance) - WEAKENING_DECADES
    return union, np.maximum(own, least)


def _metrics(
    model: RiskModel, anchor: RiskModel, training: Floats, calibration: Floats, figures: Floats, left_out: int
) -> dict[str, float]:
    one, thousandth = np.quantile(figures, [0.99, 0.999])
    return {
        "rows": float(len(training) + len(calibration)),
        "rows_left_out": float(left_out),
        "calibration_rows": float(len(calibration)),
        "odd_share": _odd_share(model, training),
        "odd_share_before": _odd_share(anchor, training),
        "figure_1_percent": round(float(one), 4),
        "figure_0_1_percent": round(float(thousandth), 4),
    }


def _odd_share(model: RiskModel, rows: Floats) -> float:
    figures = figure(rows.sum(axis=1), _scores(model.forest.score, rows))
    return round(float((evidence(figures, model.knots, model.exceedance) >= 0.7).mean()), 6)
