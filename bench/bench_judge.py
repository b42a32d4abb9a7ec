"""What a judged action costs on one core: features, update, score and calibration; and what an agent takes in memory.

scikit-learn's own scoring of the same forest is beside ours in each run. Processor time, and the best of a few rounds:
what else the machine does is not ours.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sklearn.ensemble import IsolationForest

from bench.timing import table
from vaultak.wire import Action, Event
from vaultak_models.engine import RiskEngine
from vaultak_models.exits import ExitForest
from vaultak_models.forest import Floats, compile_forest
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile
from vaultak_models.simulate import fleet
from vaultak_models.train import SAMPLES, SEED, TREES, feature_rows
from vaultak_streams.pipeline.roster import Roster

AGENTS, ACTIONS = 40, 260
WARM = 60
"""Actions of each agent that are judged before the clock starts: baselines are ready then."""
BATCHES = (1, 100, 1_000)
ROUNDS = 4
STATE_AGENTS = 10_000
Timed = tuple[Event, int]


def main() -> None:
    rows = feature_rows(7, 40, 300)
    fitted = IsolationForest(n_estimators=TREES, max_samples=SAMPLES, random_state=SEED).fit(rows)
    _forest(fitted, rows)
    _judge(fitted)
    _state()


def _forest(fitted: IsolationForest, rows: Floats) -> None:
    forest = compile_forest(fitted)
    dense = np.random.default_rng(1).gamma(1.0, 2.0, rows.shape)
    ways: list[tuple[str, Callable[[Floats], Floats], Floats]] = [
        ("leaf by leaf (used)", ExitForest(forest).score, rows),
        ("leaf by leaf, every feature odd", ExitForest(forest).score, dense),
        ("node by node (large forests)", forest.score, rows),
        ("scikit-learn", fitted.score_samples, rows),
    ]
    table(
        f"The forest alone, {TREES} trees of {SAMPLES}: us a row",
        ["way", *(f"batch {batch:,}" for batch in BATCHES)],
        [[name, *(f"{_best_us(score, data[:batch], batch):.1f}" for batch in BATCHES)] for name, score, data in ways],
    )


def _best_us(score: Callable[[Floats], Floats], rows: Floats, batch: int) -> float:
    score(rows)
    times = []
    for _ in range(40):
        start = time.process_time()
        score(rows)
        times.append(time.process_time() - start)
    return min(times) / batch * 1e6


def _judge(fitted: IsolationForest) -> None:
    model = RiskModel.load()._replace(forest=compile_forest(fitted))
    ours = RiskEngine(model)
    theirs = RiskEngine(model, score=lambda rows: -fitted.score_samples(rows))
    lives = list(fleet(5, AGENTS, ACTIONS))
    rows = [[f"{batch:,}", *_speeds((ours, theirs), lives, batch)] for batch in BATCHES]
    table(
        f"Judging, {AGENTS} agents in turn",
        ["batch", "actions/s", "us an action", "actions/s, scored by scikit-learn", "us an action"],
        rows,
    )


def _speeds(engines: Sequence[RiskEngine], lives: Sequence[list[Timed]], batch: int) -> Iterator[str]:
    rounds = [[_run(engine, lives, batch) for engine in engines] for _ in range(ROUNDS)]
    for seconds in map(min, zip(*rounds, strict=True)):
        yield f"{1 / seconds:,.0f}"
        yield f"{seconds * 1e6:.0f}"


def _run(engine: RiskEngine, lives: Sequence[list[Timed]], batch: int) -> float:
    """Seconds an action. At batch 1 fewer actions are enough."""
    profiles: dict[str, AgentProfile] = {}
    for life in lives:
        engine.judge(life[:WARM], profiles)
    events = [life[index] for index in range(WARM, min(map(len, lives))) for life in lives]
    events = events[: 600 if batch == 1 else None]
    start = time.process_time()
    for first in range(0, len(events), batch):
        engine.judge(events[first : first + batch], profiles)
    elapsed_s = time.process_time() - start
    return elapsed_s / sum(isinstance(event, Action) for event, _ in events)


def _state() -> None:
    """Agents with different pasts, as many times over as it takes: the sizes are those of so many agents."""
    engine = RiskEngine(RiskModel.load())
    rows = []
    for actions in (100, 300, 900):
        profiles: dict[str, AgentProfile] = {}
        for life in fleet(11, AGENTS, actions):
            engine.judge(life, profiles)
        saved = [profile.to_bytes() for profile in profiles.values()]
        packed = Roster(AgentProfile.from_bytes)
        held = _held_kib(packed, saved, STATE_AGENTS)
        unpacked = _held_kib({}, saved, 400)
        rows.append([actions, f"{sum(map(len, saved)) / len(saved) / 1024:.1f}", f"{unpacked:.1f}", f"{held:.1f}"])
    table(
        f"KiB of state an agent, {STATE_AGENTS:,} agents of which {packed.live:,} are busy",
        ["actions in its past", "saved", "in memory while busy", "in memory, mean of all"],
        rows,
    )


def _held_kib(into: dict[str, AgentProfile] | Roster[AgentProfile], saved: list[bytes], agents: int) -> float:
    tracemalloc.start()
    for index in range(agents):
        into[f"agent-{index}"] = AgentProfile.from_bytes(saved[index % len(saved)])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / agents / 1024


if __name__ == "__main__":
    main()
