"""A simulated fleet at work: two hundred agents of twenty roles, fourteen days.

It is another generator than the one that the shipped model learns from (`vaultak_models.simulate`), on purpose, and
ordinary life in it is not tidy. Agents of a role share their tools, tables, directories and hosts, with shares of their
own. They work in sessions, in office hours or around the clock, less at weekends. Some sessions run late. Files get new
names every day. Once in the fortnight a role gets a release: a tool, table or host that none of its agents used before.
Backlogs are worked off at five times the pace; some roles delete, send, read secrets or fail every day.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from vaultak.wire import Action, ActionType, Event, Outcome, OutcomeStatus

AGENTS, ROLES, DAYS = 200, 20, 14
DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000
START_US = 1_767_571_200_000_000
"""Monday 2026-01-05, 00:00 UTC."""

TOPICS = (
    "freight", "claims", "menu", "survey", "harvest", "fleet", "shift", "outage", "catalog", "ticket", "forecast",
    "audit", "loan", "warranty", "recipe", "permit", "sensor", "tariff", "roster", "quote", "parcel", "lesson",
    "grant", "meter", "booking", "defect", "campaign", "vendor", "track", "census",
)  # fmt: skip
LOOKS = ("list", "get", "search", "read", "check", "describe")
CHANGES = ("create", "update", "add", "move", "edit")
SENDS = ("send", "reply", "post", "notify")
UNDOES = ("delete", "cancel", "remove")


@dataclass(frozen=True)
class Step:
    """Something that a role does: an action of one kind on one of a pool of resources."""

    action_type: ActionType
    template: str
    """Of the resource; `{}` is its name in the pool."""
    pool: int
    """How many names are in use on a day; 1: always the same resource."""
    dated: bool
    """Names are new every day."""
    members: tuple[str, ...]
    log_size: float
    spread: float


@dataclass
class Role:
    name: str
    steps: list[Step]
    workflows: list[list[int]]
    hours: tuple[int, int]
    """Local working hours; from 0 to 24: around the clock."""
    weekend: float
    """Sessions at weekends, as a share of those on other days."""
    release_day: int
    release: list[Step]
    failures: float


@dataclass
class Agent:
    agent_id: str
    role: Role
    weights: list[float]
    sessions_a_day: float
    pace_s: float
    sizes: float
    """Added to the logarithm of every size."""
    names: str
    """What its own names begin with."""
    plan: list[tuple[int, int, int]] = field(default_factory=list)
    """Sessions: (start in us, workflows, pace in percent of the usual)."""


@dataclass
class Happening:
    """An event, its time, and the attack that it is part of."""

    event: Event
    ts_us: int
    episode: int | None = None
    harmful: bool = False


def make_roles(rng: random.Random, count: int = ROLES) -> list[Role]:
    return [_role(f"role-{index}", rng) for index in range(count)]


def _role(name: str, rng: random.Random) -> Role:
    topics = rng.sample(TOPICS, 4)
    steps = [make_step(rng, topics) for _ in range(rng.randint(4, 12))]
    workflows = [[rng.randrange(len(steps)) for _ in range(rng.randint(2, 8))] for _ in range(rng.randint(2, 6))]
    hours = rng.choice([(0, 24), (7, 17), (8, 18), (9, 19), (13, 22), (21, 24)])
    return Role(
        name=name,
        steps=steps,
        workflows=workflows,
        hours=hours,
        weekend=rng.choice([0.0, 0.1, 1.0]) if hours != (0, 24) else 1.0,
        release_day=rng.randrange(3, DAYS),
        release=[make_step(rng, [*topics, rng.choice(TOPICS)]) for _ in range(rng.randint(1, 2))],
        failures=rng.choice([0.002, 0.01, 0.05]),
    )


def make_step(rng: random.Random, topics: list[str]) -> Step:
    """A step out of the common run of office, data and service work; some of it sends, deletes or reads secrets."""
    topic, other = rng.choice(topics), rng.choice(topics)
    kind = rng.choices(range(9), (18, 12, 5, 10, 12, 10, 20, 8, 5))[0]
    if kind == 0:
        action_type, template = ActionType.FILE_READ, f"/data/{topic}/{other}-{{}}.{rng.choice(('csv', 'json', 'pdf'))}"
    elif kind == 1:
        action_type, template = ActionType.FILE_WRITE, f"/data/{topic}/out/{other}-{{}}.{rng.choice(('csv', 'html'))}"
    elif kind == 2:
        action_type, template = ActionType.FILE_DELETE, f"/data/{topic}/tmp/{other}-{{}}.part"
    elif kind == 3:
        action_type, template = ActionType.DATABASE_WRITE, f"db://{topic}/{other}"
    elif kind == 4:
        action_type, template = ActionType.DATABASE_QUERY, f"db://{topic}/{other}"
    elif kind == 5:
        action_type, template = ActionType.NETWORK_REQUEST, f"https://{topic}.example.com/{other}/{{}}"
    elif kind == 6:
        action_type, template = ActionType.TOOL_CALL, f"tool:{rng.choice(LOOKS + CHANGES)}_{topic}"
    elif kind == 7:
        action_type, template = ActionType.MESSAGE_SEND, f"https://chat.example.com/{topic}"
    else:
        action_type, template = ActionType.TOOL_CALL, f"tool:{rng.choice(SENDS + UNDOES)}_{topic}"
    if rng.random() < 0.02:
        action_type, template = ActionType.FILE_READ, f"/run/secrets/{topic}.token"
    return Step(
        action_type=action_type,
        template=template,
        pool=1 if "{}" not in template else int(math.exp(rng.uniform(0.7, 5))),
        dated=rng.random() < 0.4,
        members=tuple(rng.sample(TOPICS, rng.randint(0, 4))),
        log_size=rng.uniform(3, 8),
        spread=rng.uniform(0.15, 0.7),
    )


def make_agents(rng: random.Random, roles: list[Role], count: int = AGENTS, *, steady: bool = False) -> list[Agent]:
    return [_agent(f"agent-{index}", roles[index % len(roles)], rng, steady) for index in range(count)]


def _agent(agent_id: str, role: Role, rng: random.Random, steady: bool) -> Agent:
    agent = Agent(
        agent_id=agent_id,
        role=role,
        weights=[rng.paretovariate(1.2) for _ in role.workflows],
        sessions_a_day=rng.uniform(3, 12),
        pace_s=math.exp(rng.uniform(math.log(0.3), math.log(20))),
        sizes=rng.gauss(0, 0.4),
        names=f"{agent_id[6:]}",
    )
    for day in range(DAYS):
        mean = agent.sessions_a_day * (role.weekend if day % 7 >= 5 else 1.0)
        for _ in range(_poisson(rng, mean)):
            agent.plan.append(_session(day, role, rng, steady))
    agent.plan.sort()
    return agent


def _session(day: int, role: Role, rng: random.Random, steady: bool) -> tuple[int, int, int]:
    first, last = role.hours
    hour = rng.uniform(first, last)
    if not steady and last - first < 24 and rng.random() < 0.01:  # someone stays late, or begins early
        hour = rng.uniform(max(0, first - 3), min(24, last + 3))
    backlog = not steady and rng.random() < 0.01
    workflows = rng.randint(15, 40) if backlog else rng.randint(1, 4)
    return START_US + day * DAY_US + int(hour * HOUR_US), workflows, 20 if backlog else 100


def _poisson(rng: random.Random, mean: float) -> int:
    count, left = 0, math.exp(-mean)
    while (left := left / max(rng.random(), 1e-12)) < 1.0:
        count += 1
    return count


def act(agent: Agent, step: Step, ts_us: int, session: str, rng: random.Random) -> Action:
    """One action of an agent; its size varies as the step's sizes do."""
    day = (ts_us - START_US) // DAY_US
    index = int(step.pool * rng.random() ** 2)
    name = f"{agent.names}-{day:02}-{index}" if step.dated else f"{agent.names}-{index}"
    size = int(math.exp(min(13.0, rng.gauss(step.log_size + agent.sizes, step.spread))))
    payload: dict[str, object] = dict.fromkeys(step.members, index)
    return make_action(agent, step.action_type, step.template.format(name), session, ts_us, payload, size)


def make_action(
    agent: Agent,
    action_type: ActionType,
    resource: str,
    session: str,
    ts_us: int,
    payload: dict[str, object],
    size: int,
) -> Action:
    return Action(
        schema_version=1,
        agent_id=agent.agent_id,
        session_id=session,
        ts="2026-01-05T00:00:00.000000Z",
        action_id=f"{agent.agent_id}-{ts_us}",
        action_type=action_type,
        resource=resource,
        payload=payload,
        payload_bytes=size,
        labels={"role": agent.role.name},
    )


def live(agent: Agent, rng: random.Random, *, steady: bool = False) -> Iterator[list[Happening]]:
    """What an agent does of its own accord, session by session."""
    free_us = 0
    for number, (start_us, workflows, pace) in enumerate(agent.plan):
        ts_us = max(start_us, free_us)
        session, happenings = f"{agent.agent_id}/{number}", []
        released = not steady and ts_us >= START_US + agent.role.release_day * DAY_US + 10 * HOUR_US
        for _ in range(workflows):
            steps = [agent.role.steps[i] for i in rng.choices(agent.role.workflows, agent.weights)[0]]
            if released and rng.random() < 0.3:
                steps.insert(rng.randrange(len(steps) + 1), rng.choice(agent.role.release))
            for step in steps:
                if rng.random() < 0.05:
                    continue
                ts_us += int(1e6 * agent.pace_s * pace / 100 * rng.lognormvariate(0, 0.5)) + 1
                action = act(agent, step, ts_us, session, rng)
                happenings.append(Happening(action, ts_us))
                if rng.random() < agent.role.failures:
                    happenings.append(Happening(failure(action), ts_us))
        free_us = ts_us + 1_000_000
        if happenings:
            yield happenings


def failure(action: Action) -> Outcome:
    return Outcome(
        schema_version=1,
        agent_id=action.agent_id,
        session_id=action.session_id,
        ts=action.ts,
        action_id=action.action_id,
        status=OutcomeStatus.ERROR,
    )


def in_order(parts: list[list[Happening]]) -> list[Happening]:
    """The happenings of all agents by time; each part is in order already."""
    return list(heapq.merge(*parts, key=lambda happening: happening.ts_us))
