"""Who tries to teach a baseline or a model that an attack is ordinary: what it gets, and how little."""

from __future__ import annotations

import numpy as np
import pytest
from tests.models.acting import Script

from vaultak_models.engine import Assessment, RiskEngine
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile
from vaultak_models.simulate import fleet
from vaultak_models.training import Gathering, fit_model

ATTACK = ("file_delete", "/srv/prod/customers.db")


def steady(times: int = 400) -> Script:
    """An agent with a mature baseline: it reads the same few files."""
    script = Script("agent", step_s=20)
    for n in range(times):
        script.act("file_read", f"/data/in/{n % 7}.csv")
    return script


def judged(script: Script) -> tuple[list[Assessment], AgentProfile]:
    profiles: dict[str, AgentProfile] = {}
    found = RiskEngine(RiskModel.load()).judge(script.events, profiles)
    return [one for one in found if one is not None], profiles["agent"]


def test_a_burst_of_odd_actions_teaches_the_baseline_nothing() -> None:
    before = judged(steady())[1]
    script = steady()
    for _ in range(200):
        script.act(*ATTACK)
    assessments, after = judged(script)
    assert not [kind for kind in after.habits if kind.startswith("file_delete")]
    assert after.resources.keys() == before.resources.keys()
    assert after.events == before.events
    assert assessments[-1].risk >= assessments[len(steady().events)].risk - 0.05, "the last is no more ordinary"


def test_what_hides_behind_an_odd_action_in_its_session_is_not_learnt_either() -> None:
    script = steady()
    script.act(*ATTACK)
    learnt = judged(script)[1].events
    for n in range(20):
        script.act("file_read", f"/data/in/{n % 7}.csv")
    assert judged(script)[1].events == learnt


@pytest.mark.parametrize("per_day", [1, 4])
def test_what_would_be_stopped_is_not_learnt_within_a_week_however_slowly_it_comes(per_day: int) -> None:
    script = steady()
    for n in range(6 * per_day):
        script.session_id = f"slow-{n}"
        script.wait(86_400 / per_day)
        script.act(*ATTACK)
    assessments, profile = judged(script)
    assert not [kind for kind in profile.habits if kind.startswith("file_delete")]
    assert assessments[-1].risk >= 0.7


def test_an_attacker_that_acts_most_does_not_outweigh_the_others_in_a_model() -> None:
    """One agent holds a fleet's window with 40 times what anybody else does: no more than its share trains."""
    gathering = Gathering(RiskModel.load())
    for events in fleet(3, 12, 120):
        gathering.feed(events)
    loud = Script("loud", step_s=20)
    for n in range(5_000):
        loud.session_id = f"s{n // 50}"
        loud.act("file_read", f"/data/in/{n % 7}.csv")
    gathering.feed(loud.events)
    rows, _ = gathering.rows()
    assert sum(row.agent_id == "loud" for row in rows) <= 3_000


def test_slow_drift_over_many_trainings_stays_within_the_bound_of_the_shipped_model() -> None:
    """Each training is given the same actions, odder by as much again, as if all of it had become ordinary."""
    anchor = RiskModel.load()
    gathering = Gathering(anchor)
    for events in fleet(3, 24, 120):
        gathering.feed(events)
    rows, _ = gathering.rows()
    for generation in range(1, 4):
        odder = [row._replace(measures=tuple(np.array(row.measures) * (1 + generation))) for row in rows]
        model = fit_model(odder, 0, anchor).model
        for mine, theirs, knots, own in (
            (model.knots, anchor.exceedance, anchor.knots, model.exceedance),
            (model.tail_knots, anchor.tail_exceedance, anchor.tail_knots, model.tail_exceedance),
        ):
            assert (np.interp(knots, mine, own) >= theirs - 1.0 - 1e-9).all()
