"""Thousands of agents fit in memory, and it cannot be told which of them are packed."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultak_models.engine import RiskEngine
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile
from vaultak_models.simulate import fleet
from vaultak_streams.pipeline.roster import Roster

ENGINE = RiskEngine(RiskModel.load())
NAMES = st.sampled_from("abcdef")
STEP = st.tuples(st.sampled_from(["put", "get", "drop", "pack", "saved", "list", "has"]), NAMES)
MAX_AGENT_BYTES = 8 * 1024


def _profile(number: int) -> AgentProfile:
    profile = AgentProfile()
    profile.events = number
    return profile


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=60), live=st.integers(1, 4))
def test_it_answers_as_a_dictionary_does(steps: list[tuple[str, str]], live: int) -> None:
    roster, plain = Roster(AgentProfile.from_bytes, live=live), dict[str, int]()
    for number, (what, name) in enumerate(steps):
        if what == "put":
            roster[name], plain[name] = _profile(number), number
        elif what == "drop":
            assert (roster.pop(name, None) is None) == (plain.pop(name, None) is None)
        elif what == "pack":
            roster.pack(name, _profile(number).to_bytes())
            plain[name] = number
        elif what == "saved":
            saved = roster.saved(name)
            assert (None if saved is None else AgentProfile.from_bytes(saved).events) == plain.get(name)
        elif what == "get":
            profile = roster.get(name)
            assert (None if profile is None else profile.events) == plain.get(name)
        elif what == "has":
            assert (name in roster) == (name in plain)
        assert sorted(roster) == sorted(plain)
        assert len(roster) == len(plain)
        assert roster.live <= live


def test_an_agent_that_it_does_not_have_is_an_error() -> None:
    roster = Roster(AgentProfile.from_bytes)
    with pytest.raises(KeyError):
        roster["nobody"]
    with pytest.raises(KeyError):
        del roster["nobody"]


@pytest.mark.parametrize("batch", [1, 37, 1000])
def test_assessments_do_not_depend_on_what_is_packed(batch: int) -> None:
    lives = list(fleet(3, 6, 60))
    events = [life[index] for index in range(min(map(len, lives))) for life in lives]
    expected = ENGINE.judge(events, {})
    roster = Roster(AgentProfile.from_bytes, live=2)
    found = [a for i in range(0, len(events), batch) for a in ENGINE.judge(events[i : i + batch], roster)]
    assert found == expected


@pytest.mark.slow
def test_ten_thousand_agents_take_eight_kib_each() -> None:
    profiles: dict[str, AgentProfile] = {}
    for life in fleet(11, 40, 600):
        ENGINE.judge(life, profiles)
    saved = [profile.to_bytes() for profile in profiles.values()]
    tracemalloc.start()
    try:
        roster = Roster(AgentProfile.from_bytes)
        for index in range(10_000):
            roster[f"agent-{index}"] = AgentProfile.from_bytes(saved[index % len(saved)])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(roster) == 10_000
    assert held / 10_000 < MAX_AGENT_BYTES
