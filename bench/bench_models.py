"""How many actions a second the risk engine judges, by batch size, on one core."""

from __future__ import annotations

import time

from bench.timing import table
from vaultak.wire import Action, Event
from vaultak_models.engine import RiskEngine
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile
from vaultak_models.simulate import fleet

SEED, AGENTS, ACTIONS = 5, 20, 300
WARM = 60
"""Actions of each agent that are judged before the clock starts: baselines are ready then."""


def main() -> None:
    lives = list(fleet(SEED, AGENTS, ACTIONS))
    rows = [[str(batch), *_measure(lives, batch)] for batch in (1, 100, 1000)]
    table("RiskEngine.judge, 20 agents in turn", ["batch", "actions/s", "us an action"], rows)


def _measure(lives: list[list[tuple[Event, int]]], batch: int) -> tuple[str, str]:
    engine = RiskEngine(RiskModel.load())
    profiles: dict[str, AgentProfile] = {}
    for life in lives:
        engine.judge(life[:WARM], profiles)
    shortest = min(map(len, lives))
    events = [life[index] for index in range(WARM, shortest) for life in lives]
    start = time.perf_counter()
    for first in range(0, len(events), batch):
        engine.judge(events[first : first + batch], profiles)
    elapsed_s = time.perf_counter() - start
    actions = sum(isinstance(event, Action) for event, _ in events)
    return f"{actions / elapsed_s:,.0f}", f"{elapsed_s / actions * 1e6:.0f}"


if __name__ == "__main__":
    main()
