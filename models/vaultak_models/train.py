"""`python -m vaultak_models.train --simulated --output DIR`: trains a model. The one place that needs scikit-learn."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from vaultak.wire import Action, Outcome
from vaultak_models.encounter import encounter
from vaultak_models.features import FEATURES
from vaultak_models.forest import Floats, Forest, compile_forest
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile, Oddness
from vaultak_models.risk import figure
from vaultak_models.simulate import fleet

TREES, SAMPLES = 100, 256
SEED = 20_260_105
AGENTS, ACTIONS = 160, 400
KNOTS = 512
ODD_NATS, VERY_ODD_NATS = 3.95, 8.0
"""While training, actions with as much are learnt late: there is no calibration to ask yet. A model trained so finds
these again for `odd_evidence` and `very_odd_evidence`. What is learnt late stays odd for longer: calibrated on agents
that learn sooner than its own do, a model would be wrong about how often odd things happen."""


def feature_rows(seed: int, agents: int, actions: int) -> Floats:
    """Features of a simulated fleet's actions once their baselines are ready, shape (n, features)."""
    rows: list[list[float]] = []
    for events in fleet(seed, agents, actions):
        profile = AgentProfile()
        for event, ts_us in events:
            if isinstance(event, Action):
                _measure(profile, event, ts_us, rows)
            elif isinstance(event, Outcome):
                profile.fail()
    return np.array(rows)


def _measure(profile: AgentProfile, action: Action, ts_us: int, rows: list[list[float]]) -> None:
    seen, _, _ = encounter(profile, action, ts_us)
    oddness = Oddness.NONE
    if profile.ready:
        habit = profile.habits.get(seen.kind)
        rows.append([feature.measure(profile, seen, habit) for feature in FEATURES])
        total = sum(rows[-1])
        if total >= ODD_NATS:
            oddness = Oddness.MUCH if total >= VERY_ODD_NATS and profile.mature else Oddness.SOME
    profile.take_in(seen, action.session_id, oddness)


def fit(rows: Floats, seed: int) -> Forest:
    """An isolation forest of `TREES` trees on `SAMPLES` rows each."""
    from sklearn.ensemble import IsolationForest

    return compile_forest(IsolationForest(n_estimators=TREES, max_samples=SAMPLES, random_state=seed).fit(rows))


def train(training: Floats, calibration: Floats, seed: int = SEED) -> RiskModel:
    """A model fitted to one set of rows and calibrated on another."""
    forest = fit(training, seed)
    tail = np.array([sum(row) for row in calibration.tolist()])
    chunks = [calibration[i : i + 1000] for i in range(0, len(calibration), 1000)]
    figures = figure(tail, np.concatenate([forest.score(chunk) for chunk in chunks]))
    return RiskModel("unsaved", forest, *tail_table(figures), *tail_table(tail))


def tail_table(figures: Floats) -> tuple[Floats, Floats]:
    """Knots and `-log10` of the share of figures at or above them; past the data the last decade's slope goes on."""
    ordered = np.sort(figures)
    shares = np.geomspace(1.0, 10.0 / len(ordered), KNOTS)
    positions = np.minimum((len(ordered) * (1.0 - shares)).astype(int), len(ordered) - 1)
    knots, first = np.unique(ordered[positions], return_index=True)
    exceedance = np.maximum.accumulate(-np.log10(shares[first]))
    slope = _slope(knots, exceedance)
    end = 6.0
    return np.append(knots, knots[-1] + (end - exceedance[-1]) / slope), np.append(exceedance, end)


def _slope(knots: Floats, exceedance: Floats) -> float:
    """Decades per nat over the last decade; no steeper than an exact probability would be, `1 / ln 10`."""
    at = min(int(np.searchsorted(exceedance, exceedance[-1] - 1.0)), len(knots) - 2)
    rise = (exceedance[-1] - exceedance[at]) / (knots[-1] - knots[at])
    return float(min(max(rise, 0.02), 1 / np.log(10)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m vaultak_models.train", description=__doc__)
    parser.add_argument("--simulated", action="store_true", required=True, help="train on the simulated fleet")
    parser.add_argument("--output", type=Path, required=True, help="directory for model.npz and manifest.json")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    training = feature_rows(options.seed, AGENTS, ACTIONS)
    calibration = feature_rows(options.seed + 1, AGENTS, ACTIONS)
    model = train(training, calibration, options.seed)
    manifest = model.save(
        options.output,
        made_by=f"python -m vaultak_models.train --simulated --seed {options.seed}",
        trained_on=f"fleets of {AGENTS} agents, {len(training):,} actions; calibrated on {len(calibration):,} "
        "actions of other agents",
    )
    sys.stdout.write(f"{options.output}: {manifest.sha256[:12]}, {manifest.trained_on}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
