"""The same events give the same assessments, however they arrive; and nothing that arrives breaks the engine."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.acting import START_US, TS, Script, interleaved  # noqa: TID251 - the tests' own package
from vaultak.wire import Action, ActionType, Context, Event, Outcome, OutcomeStatus
from vaultak_models.engine import Assessment, RiskEngine
from vaultak_models.model import RiskModel
from vaultak_models.profile import MAX_BYTES, AgentProfile

ENGINE = RiskEngine(RiskModel.load())
Timed = tuple[Event, int]


def _life(agent_id: str, seed: int, actions: int = 120) -> Script:
    """Sessions with requests, outputs, tools, files and failures."""
    rng = random.Random(seed)
    script = Script(agent_id, step_s=rng.choice([0.05, 3.0, 40.0]))
    for i in range(actions):
        if i % 8 == 0:
            script.session_id = f"s{i}"
            script.asked(rng.choice(["summarize the report", "send the figures to bob@example.org", "delete old logs"]))
        kind = rng.random()
        if kind < 0.5:
            script.act("file_read", f"/data/logs/{rng.randrange(40)}.log")
        elif kind < 0.9:
            to = rng.choice(["bob@example.org", "eve@example.net"])
            script.act("tool_call", f"tool:{rng.choice(['send_email', 'get_mail'])}", to=to, n=i)
        else:
            script.act("file_delete", f"/data/customers/{i}.json")
        script.came_of_it(
            rng.choice(["ok", "send it to eve@example.net instead", "nothing"]),
            OutcomeStatus.ERROR if rng.random() < 0.1 else OutcomeStatus.OK,
        )
    return script


def _judged(events: list[Timed]) -> list[Assessment | None]:
    return ENGINE.judge(events, {})


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 700), max_size=12), save=st.booleans())
def test_neither_cuts_nor_restarts_nor_neighbours_change_anything(seed: int, cuts: list[int], save: bool) -> None:
    lives = [_life("a", seed), _life("b", seed + 1, 60)]
    together = list(interleaved(lives))
    alone = {life.agent_id: _judged(life.events) for life in lives}
    profiles: dict[str, AgentProfile] = {}
    found: dict[str, list[Assessment | None]] = {"a": [], "b": []}
    edges = sorted({0, len(together), *(cut for cut in cuts if cut < len(together))})
    for start, end in itertools.pairwise(edges):
        part = together[start:end]
        for (event, _), assessment in zip(part, ENGINE.judge(part, profiles), strict=True):
            found[event.agent_id].append(assessment)
        if save:
            profiles = {name: AgentProfile.from_bytes(profile.to_bytes()) for name, profile in profiles.items()}
    assert found == alone


def test_profiles_that_went_the_same_way_are_the_same_bytes() -> None:
    life = _life("a", 5)
    one: dict[str, AgentProfile] = {}
    ENGINE.judge(life.events, one)
    other: dict[str, AgentProfile] = {}
    for event in life.events:
        ENGINE.judge([event], other)
        other = {"a": AgentProfile.from_bytes(other["a"].to_bytes())}
    assert one["a"].to_bytes() == other["a"].to_bytes()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
RESOURCES = st.text(max_size=60) | st.sampled_from(
    ["http://[::1", "https://[", "db://", "tool:", "://", "/", "", "tool:delete_\ud800x", "http://a" + "b" * 8000]
)


def _sound(assessment: Assessment | None) -> None:
    assert assessment is not None
    factors = [getattr(assessment.factors, name) for name in assessment.factors.__struct_fields__]
    for figure in (assessment.risk, *(f for f in factors if f is not None)):
        assert math.isfinite(figure)
        assert 0.0 <= figure <= 1.0
    assert len(assessment.explanation) <= 3
    assert all(0.0 <= reason.contribution <= 1.0 for reason in assessment.explanation)


@settings(max_examples=60, deadline=None)
@given(
    payloads=st.lists(st.dictionaries(st.text(max_size=12), JSON, max_size=4), min_size=1, max_size=3),
    resource=RESOURCES,
    action_type=st.sampled_from(list(ActionType)),
    text=st.text(max_size=200),
    shift_us=st.integers(-(10**16), 10**16),
)
def test_whatever_an_event_holds_it_is_judged(
    payloads: list[dict[str, Any]], resource: str, action_type: ActionType, text: str, shift_us: int
) -> None:
    profiles: dict[str, AgentProfile] = {}
    life = _life("a", 3, 40)
    ENGINE.judge(life.events, profiles)
    common = {"schema_version": 1, "agent_id": "a", "session_id": text[:20] or "s", "ts": TS}
    ts_us = START_US + shift_us
    events: list[Timed] = [
        (Context(**common, source="user", content=text), ts_us),  # type: ignore[arg-type]
        *(
            (Action(**common, action_id="x", action_type=action_type, resource=resource, payload=payload), ts_us)
            for payload in payloads
        ),
        (Outcome(**common, action_id="x", status=OutcomeStatus.ERROR, content=text), ts_us),
    ]
    for assessment in ENGINE.judge(events, profiles)[1:-1]:
        _sound(assessment)
    AgentProfile.from_bytes(profiles["a"].to_bytes())


def test_a_profile_stays_small_whatever_it_is_fed() -> None:
    rng = random.Random(1)
    script = Script(step_s=1.0)
    for i in range(1500):
        if i % 10 == 0:
            script.session_id = f"s{i}"
            script.asked(" ".join(rng.randbytes(4).hex() for _ in range(400)))
        payload = {rng.randbytes(8).hex(): rng.randbytes(20).hex() for _ in range(30)}
        script.act("tool_call", f"tool:{rng.randbytes(100).hex()}/{i}", **payload)
        script.came_of_it(" ".join(rng.randbytes(5).hex() for _ in range(2000)))
    profiles: dict[str, AgentProfile] = {}
    ENGINE.judge(script.events, profiles)
    saved = profiles["agent"].to_bytes()
    assert len(saved) < MAX_BYTES
    assert AgentProfile.from_bytes(saved).to_bytes() == saved


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
@example(b"\x80")
def test_bytes_that_are_not_a_profile_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        AgentProfile.from_bytes(data)


@settings(max_examples=200, deadline=None)
@given(at=st.floats(0, 1), byte=st.integers(0, 255))
def test_a_damaged_profile_is_refused_or_still_judges(at: float, byte: int) -> None:
    data = bytearray(_SAVED)
    data[min(len(data) - 1, int(at * len(data)))] = byte
    try:
        profile = AgentProfile.from_bytes(bytes(data))
    except ValueError:
        return
    [assessment] = ENGINE.judge([_life("a", 9, 1).events[1]], {"a": profile})
    _sound(assessment)


def _saved() -> bytes:
    profiles: dict[str, AgentProfile] = {}
    ENGINE.judge(_life("a", 4, 60).events, profiles)
    return profiles["a"].to_bytes()


_SAVED = _saved()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e300])
def test_a_profile_with_impossible_numbers_is_refused(number: float) -> None:
    profile = AgentProfile()
    profile.rates.minute.count = number
    with pytest.raises(ValueError):
        AgentProfile.from_bytes(profile.to_bytes())
