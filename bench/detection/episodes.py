"""Which episodes of attack a detector sees in the simulated fleet, at a share of false alarms fixed on other fleets."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from bench.detection.attacks import KINDS
from bench.detection.fleet import AGENTS, DAY_US, START_US, Agent, Happening, in_order, live, make_agents, make_roles
from bench.timing import say
from vaultak.wire import Action
from vaultak_models.engine import RiskEngine
from vaultak_models.exits import scorer
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile
from vaultak_models.risk import figure
from vaultak_models.target import DEFAULT_TARGETS

Floats = NDArray[np.float64]

LEARNING_DAYS = 7
"""Nothing is measured before: baselines begin empty."""
BATCH = 2_000
RAW, FOREST, SUM, RISK = (
    "raw features, one forest",
    "own baseline, forest alone",
    "own baseline, sum and forest",
    "risk",
)
DETECTORS = (RAW, FOREST, SUM, RISK)


class Fleet(NamedTuple):
    """What a fleet did, in order of time, and the kind of each episode of attack."""

    happenings: list[Happening]
    episodes: list[str]


class Judged(NamedTuple):
    """Actions after the learning days, in order. Arrays of shape (n,), but for `scores`, by detector."""

    episode: NDArray[np.int64]
    """The episode that the action is part of, or -1."""
    harmful: NDArray[np.bool_]
    quiet: NDArray[np.bool_]
    """Of a session in which nothing bad happened: what false alarms are counted on."""
    scores: Mapping[str, Floats]
    episodes: list[str]


def simulate(seed: int, *, attacked: bool = True, steady: bool = False, agents: int = AGENTS) -> Fleet:
    """A fleet; with `attacked` each agent is attacked once, by the kinds in turn. The same seed gives the same.

    `steady`: without releases, backlogs and late sessions.
    """
    rng = random.Random(f"fleet/{seed}")
    members = make_agents(rng, make_roles(rng), agents, steady=steady)
    parts: list[list[Happening]] = []
    episodes: list[str] = []
    for index, agent in enumerate(members):
        own = random.Random(f"fleet/{seed}/{index}")
        sessions = list(live(agent, own, steady=steady))
        parts.extend(sessions)
        if attacked and (attack := _attack(agent, members, sessions, index, len(episodes), own)) is not None:
            kind, happenings = attack
            episodes.append(kind)
            parts.append(happenings)
    return Fleet(in_order(parts), episodes)


def _attack(
    agent: Agent,
    members: list[Agent],
    sessions: list[list[Happening]],
    index: int,
    episode: int,
    rng: random.Random,
) -> tuple[str, list[Happening]] | None:
    first_us, last_us = START_US + (LEARNING_DAYS + 1) * DAY_US, START_US + 13 * DAY_US
    possible = [n for n, session in enumerate(sessions) if first_us < session[0].ts_us < last_us]
    if not possible:
        return None
    kinds = list(KINDS)
    for shift in range(len(kinds)):  # around the clock nobody works off hours: the next kind
        kind = kinds[(index + shift) % len(kinds)]
        chosen = possible[0] if kind == "slow drift" else rng.choice(possible)
        if happenings := KINDS[kind](agent, members, sessions, chosen, episode, rng):
            return kind, happenings
    return None


def judge(fleet: Fleet, model: RiskModel, raw: IsolationForest) -> Judged:
    """What each detector says of every action, in one pass."""
    rows: list[Floats] = []
    forest = scorer(model.forest)

    def capture(measures: Floats) -> Floats:
        rows.append(measures)
        return forest(measures)

    engine, profiles = RiskEngine(model, score=capture), dict[str, AgentProfile]()
    kept: list[Happening] = []
    risks: list[float] = []
    ready: list[bool] = []
    for batch in _batches(fleet.happenings):
        assessments = engine.judge([(h.event, h.ts_us) for h in batch], profiles)
        for happening, assessment in zip(batch, assessments, strict=True):
            if assessment is not None:
                kept.append(happening)
                risks.append(assessment.risk)
                ready.append(assessment.factors.behaviour is not None)
    measures = np.concatenate(rows)
    forest_score, total = np.zeros(len(kept)), np.zeros(len(kept))
    forest_score[ready] = np.concatenate([forest(measures[i : i + BATCH]) for i in range(0, len(measures), BATCH)])
    total[ready] = figure(measures.sum(axis=1), forest_score[ready])
    scores = {RAW: -raw.score_samples(raw_rows(kept)), FOREST: forest_score, SUM: total, RISK: np.array(risks)}
    return _measured(kept, scores, fleet.episodes)


def _measured(kept: list[Happening], scores: Mapping[str, Floats], episodes: list[str]) -> Judged:
    counted = np.array([h.ts_us >= START_US + LEARNING_DAYS * DAY_US for h in kept])
    attacked = {h.event.session_id for h in kept if h.episode is not None}
    return Judged(
        np.array([-1 if h.episode is None else h.episode for h in kept])[counted],
        np.array([h.harmful for h in kept])[counted],
        np.array([h.event.session_id not in attacked for h in kept])[counted],
        {name: score[counted] for name, score in scores.items()},
        episodes,
    )


def _batches(happenings: list[Happening]) -> Iterator[list[Happening]]:
    for start in range(0, len(happenings), BATCH):
        yield happenings[start : start + BATCH]


def raw_rows(happenings: list[Happening]) -> Floats:
    """What is to be had without a baseline, per action: kind, size, members, hour, stakes and decayed counts."""
    last: dict[str, tuple[int, list[float]]] = {}
    types: dict[str, int] = {}
    rows = []
    for happening in happenings:
        action, ts_us = happening.event, happening.ts_us
        assert isinstance(action, Action)
        before_us, counts = last.get(action.agent_id, (ts_us, [0.0, 0.0, 0.0]))
        gap_s = max(0.0, (ts_us - before_us) / 1e6)
        counts = [count * math.exp(-gap_s / s) + 1 for count, s in zip(counts, (60, 600, 3_600), strict=True)]
        last[action.agent_id] = ts_us, counts
        target = DEFAULT_TARGETS.of(action.action_type, action.resource)
        static = DEFAULT_TARGETS.static_of(action, target)
        size = action.payload_bytes if isinstance(action.payload_bytes, int) else 0
        row = [math.log1p(size), len(action.payload), (ts_us // 3_600_000_000) % 24, math.log1p(gap_s)]
        row += [static.destructiveness, static.sensitivity, *map(math.log1p, counts)]
        rows.append([*row, types.setdefault(action.action_type.value, len(types))])
    return np.array(rows, dtype=float)


def raw_forest(fleet: Fleet) -> IsolationForest:
    """The baseline: scikit-learn's forest over raw features of a fleet's first week."""
    end_us = START_US + LEARNING_DAYS * DAY_US
    first = [h for h in fleet.happenings if h.ts_us < end_us and isinstance(h.event, Action)]
    return IsolationForest(n_estimators=100, random_state=0).fit(raw_rows(first))


def threshold(judged: list[Judged], detector: str, share: float) -> float:
    """The lowest score that at most this share of quiet actions reaches."""
    quiet = np.sort(np.concatenate([one.scores[detector][one.quiet] for one in judged]))
    allowed = int(len(quiet) * share)
    return float(np.nextafter(quiet[len(quiet) - allowed - 1], np.inf))


class Result(NamedTuple):
    """At one threshold."""

    recall: dict[str, float]
    """By kind of attack: the share of episodes with an action at or above it."""
    realised: float
    """The share of quiet actions at or above it."""
    before: dict[str, float]
    """By kind: the median share of an episode's harmful actions that came before the first alarm."""


def measure(judged: list[Judged], detector: str, limit: float) -> Result:
    seen: dict[str, list[bool]] = defaultdict(list)
    before: dict[str, list[float]] = defaultdict(list)
    for one in judged:
        above = one.scores[detector] >= limit
        for episode, kind in enumerate(one.episodes):
            alarms = above[(one.episode == episode) & one.harmful]
            seen[kind].append(bool(alarms.any()))
            if alarms.any():
                before[kind].append(float(np.argmax(alarms)) / len(alarms))
    quiet = np.concatenate([(one.scores[detector] >= limit)[one.quiet] for one in judged])
    return Result(
        {kind: float(np.mean(seen[kind])) for kind in KINDS if seen[kind]},
        float(quiet.mean()),
        {kind: float(np.median(found)) for kind, found in before.items()},
    )


CALIBRATION, TEST = (101, 102, 103, 104), (1, 2, 3, 4)
"""Seeds: thresholds are fixed on the first, at which nothing else is looked."""
SHARES = (0.001, 0.01)


def report() -> None:
    """Print what is seen of the attacks on a fleet, and when, beside what a forest over raw features sees."""
    model = RiskModel.load()
    for title, steady in (("steady", True), ("with releases, backlogs and late sessions", False)):
        raw = raw_forest(simulate(CALIBRATION[0] - 1, attacked=False, steady=steady))
        calibration = [judge(simulate(seed, attacked=False, steady=steady), model, raw) for seed in CALIBRATION]
        test = [judge(simulate(seed, steady=steady), model, raw) for seed in TEST]
        quiet, attacks = sum(int(one.quiet.sum()) for one in test), sum(len(one.episodes) for one in test)
        say(f"\n### simulated fleet, {title}: {attacks} attacks, {quiet:,} ordinary actions\n")
        _table(calibration, test)


def _table(calibration: list[Judged], test: list[Judged]) -> None:
    say("| detector | false alarms wanted | realised | " + " | ".join(KINDS) + " | mean |")
    say("|" + "---|" * (len(KINDS) + 4))
    for detector in DETECTORS:
        for share in SHARES:
            result = measure(test, detector, threshold(calibration, detector, share))
            mean = sum(result.recall.values()) / len(result.recall)
            cells = [_cell(result, kind) for kind in KINDS]
            say(f"| {detector} | {share:.1%} | {result.realised:.2%} | {' | '.join(cells)} | {mean:.3f} |")


def _cell(result: Result, kind: str) -> str:
    """Recall, and the median share of an episode's harmful actions before the first alarm."""
    if kind not in result.recall:
        return "-"
    if kind not in result.before:
        return f"{result.recall[kind]:.2f}"
    return f"{result.recall[kind]:.2f} ({result.before[kind]:.0%})"
