"""A simulated fleet of ordinary agents: what the shipped model learns "ordinary" from.

Each agent has a role (a small workflow over files, tables, hosts or tools), its own names, sizes, pace and working
hours, and now and then does something new in a place it knows or, more seldom, in a new place or of a new kind:
ordinary agents are not machines in a loop.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import msgspec

from vaultak.wire import Action, ActionType, Event, Outcome, OutcomeStatus

START_US = 1_767_600_000_000_000
STEMS = [
    "report",
    "orders",
    "stock",
    "ledger",
    "prices",
    "events",
    "metrics",
    "images",
    "notes",
    "drafts",
    "tickets",
    "news",
    "staff",
    "parts",
    "routes",
    "sensors",
    "offers",
    "terms",
    "leads",
    "plans",
    "tests",
    "builds",
    "pages",
    "feeds",
    "maps",
]
VERBS = ["get", "list", "search", "read", "create", "update", "send", "add", "check", "book"]
SUFFIXES = ["log", "csv", "json", "txt", "md", "gz", "html", "parquet", "xml"]


class Step(msgspec.Struct, frozen=True):
    """One kind of thing an agent does: where, how much, and how often what it touches is new."""

    action_type: ActionType
    template: str
    known: int
    new_share: float
    members: tuple[str, ...]
    log_size: float
    spread: float


class Agent(msgspec.Struct):
    agent_id: str
    steps: list[Step]
    workflows: list[list[int]]
    weights: list[float]
    pace_s: float
    pause_s: float
    hours: tuple[int, int]
    failure_share: float
    surprise_share: float


def fleet(seed: int, agents: int, actions: int) -> Iterator[list[tuple[Event, int]]]:
    """The events of each agent, `actions` actions long. The same seed gives the same fleet."""
    for index in range(agents):
        rng = random.Random(f"{seed}/{index}")  # noqa: S311 - a simulation
        yield list(_live(_agent(index, rng), rng, actions))


def _agent(index: int, rng: random.Random) -> Agent:
    steps = [_step(rng) for _ in range(rng.randint(2, 12))]
    workflows = [[rng.randrange(len(steps)) for _ in range(rng.randint(1, 6))] for _ in range(rng.randint(1, 8))]
    return Agent(
        agent_id=f"agent-{index}",
        steps=steps,
        workflows=workflows,
        weights=[rng.paretovariate(1.0) for _ in workflows],
        pace_s=math.exp(rng.uniform(math.log(0.02), math.log(20))),
        pause_s=math.exp(rng.uniform(math.log(0.05), math.log(1800))),
        hours=rng.choice([(0, 24), (0, 24), (6, 18), (8, 22), (20, 24)]),
        failure_share=rng.choice([0.0, 0.01, 0.05]),
        surprise_share=rng.choice([0.0002, 0.0005, 0.001]),
    )


def _step(rng: random.Random) -> Step:
    stem, other = rng.choice(STEMS), rng.choice(STEMS)
    suffix = rng.choice(SUFFIXES)
    action_type, template = rng.choice(
        (
            (ActionType.FILE_READ, f"/srv/{stem}/{other}-{{}}.{suffix}"),
            (ActionType.FILE_WRITE, f"/srv/{stem}/{other}-{{}}.{suffix}"),
            (ActionType.FILE_DELETE, f"/srv/spool/{stem}/{other}-{{}}.{suffix}"),
            (ActionType.NETWORK_REQUEST, f"https://{stem}.example/{other}/{{}}"),
            (ActionType.DATABASE_QUERY, f"db://main/{stem}"),
            (ActionType.DATABASE_WRITE, f"db://main/{stem}"),
            (ActionType.TOOL_CALL, f"tool:{rng.choice(VERBS)}_{stem}"),
            (ActionType.TOOL_CALL, f"tool:{rng.choice(VERBS)}_{stem}"),
            (ActionType.API_CALL, f"https://api.{stem}.example/v1/{other}"),
            (ActionType.MESSAGE_SEND, f"https://chat.example/{stem}"),
            (ActionType.CODE_EXECUTION, f"/srv/{stem}/{other}.py"),
        )
    )
    return Step(
        action_type=action_type,
        template=template,
        known=int(math.exp(rng.uniform(0, 5))),
        new_share=rng.choice([0.0, 0.02, 0.2, 1.0]),
        members=tuple(rng.sample(STEMS, rng.randint(0, 4))),
        log_size=rng.uniform(2.5, 7.5),
        spread=rng.uniform(0.1, 0.8),
    )


def _live(agent: Agent, rng: random.Random, actions: int) -> Iterator[tuple[Event, int]]:
    ts_us = START_US + rng.randrange(86_400_000_000)
    done = 0
    while done < actions:
        ts_us = _within_hours(ts_us, agent.hours)
        for index in rng.choices(agent.workflows, agent.weights)[0]:
            if rng.random() < 0.03:  # a step is skipped
                continue
            step = agent.steps[index]
            if rng.random() < agent.surprise_share:
                step = _step(rng)
                agent.steps.append(step)
            ts_us += int(1e6 * agent.pace_s * rng.lognormvariate(0, 0.5)) + 1
            done += 1
            action = _act(agent, step, rng, done)
            yield action, ts_us
            if rng.random() < agent.failure_share:
                yield _failure(action), ts_us + 1
        ts_us += int(1e6 * agent.pause_s * rng.expovariate(1.0))


def _within_hours(ts_us: int, hours: tuple[int, int]) -> int:
    hour_us = 3_600_000_000
    while not hours[0] <= (ts_us // hour_us) % 24 < hours[1]:
        ts_us += hour_us
    return ts_us


def _act(agent: Agent, step: Step, rng: random.Random, number: int) -> Action:
    name = f"n{number}" if rng.random() < step.new_share else str(int(step.known * rng.random() ** 2))
    size = int(math.exp(min(11.0, rng.gauss(step.log_size, step.spread))))
    return Action(
        schema_version=1,
        agent_id=agent.agent_id,
        session_id=f"session-{number // 20}",
        ts="2026-01-05T00:00:00.000000Z",
        action_id=f"{agent.agent_id}-{number}",
        action_type=step.action_type,
        resource=step.template.format(name),
        payload=dict.fromkeys(step.members, name),
        payload_bytes=size,
    )


def _failure(action: Action) -> Outcome:
    return Outcome(
        schema_version=1,
        agent_id=action.agent_id,
        session_id=action.session_id,
        ts=action.ts,
        action_id=action.action_id,
        status=OutcomeStatus.ERROR,
    )
