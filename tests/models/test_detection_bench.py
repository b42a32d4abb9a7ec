"""The bench of detection measures what it says: the same fleet each time, thresholds that hold, scores that agree."""

from __future__ import annotations

import numpy as np
import pytest
from bench.detection.attacks import KINDS
from bench.detection.episodes import RISK, Judged, judge, measure, raw_forest, simulate, threshold
from bench.detection.public_sets import SETS, PublicSet, compare
from hypothesis import given
from hypothesis import strategies as st

from vaultak_models.model import RiskModel


def judged(scores: list[float]) -> Judged:
    n = len(scores)
    episode = np.array([-1] * (n - 1) + [0])
    return Judged(episode, episode == 0, episode < 0, {RISK: np.array(scores)}, ["burst"])


@given(st.lists(st.floats(0, 1), min_size=3, max_size=60), st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_no_more_ordinary_actions_are_above_a_threshold_than_allowed(scores: list[float], share: float) -> None:
    one = judged(scores)
    limit = threshold([one], RISK, share)
    found = measure([one], RISK, limit)
    assert found.realised <= share
    assert found.recall == {"burst": float(scores[-1] >= limit)}


@pytest.mark.slow
def test_a_fleet_is_the_same_each_time_and_attacked_in_every_way() -> None:
    fleet, again = simulate(7, agents=40), simulate(7, agents=40)
    assert fleet.happenings == again.happenings
    assert set(fleet.episodes) == set(KINDS)
    calm = simulate(7, attacked=False, agents=40)
    assert [h for h in fleet.happenings if h.episode is None] == calm.happenings, "an attack comes on top"
    found = judge(fleet, RiskModel.load(), raw_forest(calm))
    assert set(found.episode[found.harmful]) == set(range(len(fleet.episodes)))
    assert not found.quiet[found.harmful].any()


@pytest.mark.parametrize("one", SETS, ids=lambda one: one.name)
def test_the_compiled_forest_is_scikit_learns(one: PublicSet) -> None:
    theirs, ours, difference = compare(one)
    assert difference <= 1e-9
    assert ours == pytest.approx(theirs, abs=1e-9)
