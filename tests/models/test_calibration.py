"""A figure means the same for every agent: quiet or noisy, about as many of its ordinary actions reach it."""

from __future__ import annotations

import random

import msgspec
import pytest

from vaultak_models.engine import RiskEngine
from vaultak_models.model import RiskModel
from vaultak_models.risk import FULL_EVIDENCE, reach
from vaultak_models.simulate import Agent, _agent, _live
from vaultak_models.train import ODD_NATS, VERY_ODD_NATS

ENGINE = RiskEngine(RiskModel.load())
AGENTS, ACTIONS = 30, 400
NOISE = {"quiet": (0.0, 0.1, 0.0002, 0.0), "noisy": (0.2, 0.8, 0.001, 0.05), "wild": (1.0, 1.2, 0.001, 0.2)}
"""How often what is touched is new, the spread of sizes, how often a new kind of thing comes, the share of failures."""


def _noisy(agent: Agent, noise: tuple[float, float, float, float]) -> Agent:
    new_share, spread, agent.surprise_share, agent.failure_share = noise
    agent.steps = [msgspec.structs.replace(step, new_share=new_share, spread=spread) for step in agent.steps]
    return agent


def _behaviour(noise: tuple[float, float, float, float]) -> list[float]:
    found = []
    for index in range(AGENTS):
        rng = random.Random(f"calibration/{index}")
        life = list(_live(_noisy(_agent(index, rng), noise), rng, ACTIONS))
        found += [a.factors.behaviour for a in ENGINE.judge(life, {}) if a is not None]
    return [figure for figure in found if figure is not None]


BEHAVIOUR = {name: _behaviour(noise) for name, noise in NOISE.items()}


@pytest.mark.parametrize("figure", [0.3, 0.5, 0.7])
def test_a_figure_is_as_seldom_for_quiet_agents_as_for_noisy_ones(figure: float) -> None:
    nominal = 10 ** (-FULL_EVIDENCE * figure)
    shares = [sum(b >= figure for b in behaviour) / len(behaviour) for behaviour in BEHAVIOUR.values()]
    assert max(shares) <= 2 * min(shares), shares
    assert all(nominal / 2 <= share <= 2 * nominal for share in shares), (nominal, shares)


def test_the_model_was_calibrated_on_agents_that_learn_as_it_lets_them() -> None:
    model = RiskModel.load()
    for nats, evidence in [(ODD_NATS, 0.5), (VERY_ODD_NATS, 0.7)]:
        assert reach(evidence, model.tail_knots, model.tail_exceedance) == pytest.approx(nats, rel=0.05)
