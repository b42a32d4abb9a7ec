"""What agents of one role do: a release that several of them use is no alarm for the next; an attack stays one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.models.acting import START_US, Script

from vaultak.wire import PeerSighting
from vaultak_models.engine import Assessment, RiskEngine
from vaultak_models.model import RiskModel
from vaultak_models.peers import MAX_ROLES, MAX_THINGS, NEEDED, SETTLED_US, Peers
from vaultak_models.profile import AgentProfile

MODEL = RiskModel.load()
NEW = ("tool_call", "tool:list_vouchers")

SIGHTINGS = st.builds(
    PeerSighting,
    role=st.sampled_from(["clerk", "coder"]),
    thing=st.sampled_from(["kind a", "place b"]),
    agent_id=st.sampled_from("abcde"),
    ts_us=st.integers(0, 5).map(lambda n: n * SETTLED_US // 2),
)


def member(name: str, role: str = "clerk", times: int = 400) -> Script:
    script = Script(name, step_s=20, labels={"role": role} if role else {})
    for n in range(times):
        script.act("file_read", f"/data/in/{name}-{n % 7}.csv")
    return script


def last(scripts: list[Script]) -> Assessment:
    """Of the last event of all."""
    events = sorted((pair for script in scripts for pair in script.events), key=lambda pair: pair[1])
    profiles: dict[str, AgentProfile] = {}
    found = RiskEngine(MODEL).judge(events, profiles)[-1]
    assert found is not None
    return found


def release(roles: list[str], after_s: float) -> Assessment:
    """Agents of these roles do something new, ten minutes apart; the last one `after_s` after the others."""
    scripts = [member(f"agent-{n}", role) for n, role in enumerate(roles)]
    for n, script in enumerate(scripts):
        script.wait(600 * n + (after_s if n == len(scripts) - 1 else 0))
        script.act(*NEW)
    return last(scripts)


def test_what_two_others_of_the_role_did_an_hour_before_is_not_odd() -> None:
    alone, third = release(["clerk"], 7_200), release(["clerk"] * 3, 7_200)
    assert alone.factors.behaviour is not None
    assert third.factors.behaviour is not None
    assert alone.factors.behaviour > 0.9
    assert third.factors.behaviour < 0.3


@pytest.mark.parametrize(
    ("roles", "after_s"),
    [
        (["clerk", "clerk"], 7_200),  # one other is not enough
        (["clerk", "clerk", "clerk"], 600),  # it has only just begun
        (["coder", "coder", "clerk"], 7_200),  # others, of another role
        (["", "", ""], 7_200),  # no roles
    ],
)
def test_else_it_is_as_odd_as_if_nobody_had(roles: list[str], after_s: float) -> None:
    assert release(roles, after_s).factors.behaviour == release(roles[-1:], after_s).factors.behaviour


def test_an_agent_does_not_vouch_for_itself_nor_for_what_is_sensitive() -> None:
    script = member("agent")
    for _ in range(5):
        script.wait(7_200)
        script.act(*NEW)
    assert (last([script]).factors.behaviour or 0.0) > 0.9

    scripts = [member(f"agent-{n}") for n in range(3)]
    for n, one in enumerate(scripts):
        one.wait(7_200 * n)
        one.act("file_read", "/home/ada/.ssh/id_ed25519")
    assert last(scripts).risk >= 0.5, "what it can do at worst is the same whoever did it before"


@given(st.lists(SIGHTINGS, max_size=12), st.randoms())
def test_what_is_known_does_not_depend_on_the_order_in_which_it_came(sightings: list[PeerSighting], order) -> None:  # type: ignore[no-untyped-def]
    shuffled = [*sightings, *sightings[:3]]
    order.shuffle(shuffled)
    one, other = Peers(), Peers()
    for sighting in sightings:
        one.merge(sighting)
    for sighting in shuffled:
        other.merge(sighting)
    for sighting in sightings:
        for ts_us in range(0, 5 * SETTLED_US, SETTLED_US // 2):
            told = one.know(sighting.role, sighting.thing, sighting.agent_id, ts_us)
            assert told == other.know(sighting.role, sighting.thing, sighting.agent_id, ts_us)
            first = {s.agent_id: s.ts_us for s in sorted(sightings, key=lambda s: -s.ts_us)
                     if (s.role, s.thing) == (sighting.role, sighting.thing)}  # fmt: skip
            others = [at for agent, at in first.items() if agent != sighting.agent_id and at + SETTLED_US <= ts_us]
            assert told == (len(others) >= NEEDED)


def test_news_are_told_once() -> None:
    peers = Peers()
    for _ in range(2):
        peers.saw("clerk", "kind a", "agent", START_US)
    assert [news.agent_id for news in peers.take_news()] == ["agent"]
    assert peers.take_news() == []


def test_it_is_bounded() -> None:
    peers = Peers()
    for n in range(MAX_THINGS + 10):
        peers.saw("clerk", f"kind {n}", "agent", n)
    assert peers.forgotten == 10
    for n in range(MAX_ROLES + 10):
        peers.saw(f"role-{n}", "kind a", "agent", n)
    assert len(peers._roles) == MAX_ROLES
