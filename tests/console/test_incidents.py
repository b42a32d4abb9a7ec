"""Incidents as people see them: one case per agent and session, where it stands, and its story with times."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak_streams.incidents.grouping import group
from vaultak_streams.incidents.life import Phase, phase
from vaultak_streams.incidents.story import StepKind, tell

START = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)


def at(ms: float) -> dt.datetime:
    return START + dt.timedelta(milliseconds=ms)


def incident(n: int, ms: float, severity: str = "block", status: str = "updated", **differing: Any) -> dict[str, Any]:
    return {
        "incident_id": f"i-{n}", "agent_id": "a", "session_id": "s", "ts": at(ms), "status": status, "risk": n / 10,
        "severity": severity, "title": f"{severity}: t{n}", "action_ids": [f"x-{n}"], "command_ids": [],
        "closed_by": "", "note": "", **differing,
    }  # fmt: skip


def action(n: int, ms: float, decision: str | None = "block", **differing: Any) -> dict[str, Any]:
    return {
        "agent_id": "a", "action_id": f"x-{n}", "ts": at(ms), "action_type": "file_delete", "resource": f"/r{n}",
        "risk": 0.9, "decision": decision, "reasons": ["too risky"], "scored_ts": at(ms + 20) if decision else None,
        "outcome_status": "denied", "outcome_ts": at(ms + 30), **differing,
    }  # fmt: skip


def command(n: int, ms: float, kind: str = "pause") -> dict[str, Any]:
    return {
        "command_id": f"c-{n}",
        "ts": at(ms),
        "command": kind,
        "issued_by": "vaultak",
        "reason": "",
        "action_id": "",
    }


def ack(n: int, ms: float, result: str = "applied") -> dict[str, Any]:
    return {"command_id": f"c-{n}", "ts": at(ms), "instance": "i", "result": result, "detail": ""}


# -- grouping ------------------------------------------------------------------------------------------------------


def test_incidents_of_one_session_are_one_case() -> None:
    (case,) = group([incident(2, 50, "alert"), incident(1, 10, "kill"), incident(3, 90, "pause")])
    assert (case.incident_id, case.severity, case.title, case.risk) == ("i-3", "kill", "t1", 0.3)
    assert case.action_ids == ("x-1", "x-2", "x-3")
    assert case.updated == at(90)


def test_other_sessions_and_agents_stay_apart_the_last_changed_first() -> None:
    cases = group([incident(1, 10), incident(2, 30, session_id="s2"), incident(3, 20, agent_id="b")])
    assert [case.incident_id for case in cases] == ["i-2", "i-3", "i-1"]


def test_news_after_a_close_opens_a_case_again() -> None:
    assert group([incident(1, 10, status="closed")])[0].closed
    assert not group([incident(1, 10, status="closed"), incident(2, 20)])[0].closed


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.sampled_from("st"), st.integers(0, 10**6))))
def test_grouping_loses_nothing_and_does_not_depend_on_order(drawn: list[tuple[int, str, str, int]]) -> None:
    rows = [
        incident(n, ms, agent_id=agent, session_id=session, action_ids=[f"x-{place}"])
        for place, (n, agent, session, ms) in enumerate(drawn)
    ]
    cases = group(rows)
    assert sorted(one for case in cases for one in case.action_ids) == sorted(row["action_ids"][0] for row in rows)
    assert len(cases) == len({(row["agent_id"], row["session_id"]) for row in rows})
    assert {c.agent_id + c.session_id for c in group(rows[::-1])} == {c.agent_id + c.session_id for c in cases}


# -- where it stands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differing", "expected"),
    [
        ({}, Phase.OPEN),
        ({"held": True}, Phase.WAITING),
        ({"held": True, "agent_state": "paused"}, Phase.WAITING),
        ({"agent_state": "paused"}, Phase.CONTAINED),
        ({"agent_state": "killed"}, Phase.CONTAINED),
        ({"commands": [{"command": "rollback", "results": ["applied"]}]}, Phase.CONTAINED),
        ({"commands": [{"command": "rollback", "results": ["failed"]}]}, Phase.OPEN),
        ({"commands": [{"command": "resume", "results": ["applied"]}]}, Phase.OPEN),
        ({"now": at(0) + dt.timedelta(days=2)}, Phase.QUIET),
        ({"now": at(0) + dt.timedelta(days=2), "held": True}, Phase.WAITING),
    ],
)
def test_a_case_stands_where_its_facts_put_it(differing: dict[str, Any], expected: Phase) -> None:
    (case,) = group([incident(1, 0)])
    facts: dict[str, Any] = {"held": False, "agent_state": "running", "commands": [], "now": at(60_000), **differing}
    assert phase(case, **facts) is expected


def test_a_closed_case_is_closed() -> None:
    (case,) = group([incident(1, 0, status="closed")])
    assert phase(case, held=True, agent_state="killed", commands=[], now=at(1)) is Phase.CLOSED


# -- its story -----------------------------------------------------------------------------------------------------


def test_a_story_is_told_in_order_with_the_time_of_each_step() -> None:
    story = tell([action(1, 0)], [command(1, 50)], [ack(1, 90)])
    told = [(step.kind, step.after_ms) for step in story.steps]
    assert told == [
        (StepKind.ACTION, None), (StepKind.VERDICT, 20), (StepKind.OUTCOME, 30), (StepKind.COMMAND, 30),
        (StepKind.ACK, 40),
    ]  # fmt: skip
    times = story.times
    assert (times.judged_ms, times.ordered_ms, times.obeyed_ms, times.total_ms) == (20, 30, 40, 90)


def test_times_start_at_the_first_action_that_was_stopped() -> None:
    times = tell([action(1, 0, "allow"), action(2, 1000)], [command(1, 1050)], [ack(1, 1060)]).times
    assert times.total_ms == 60


@pytest.mark.parametrize(
    ("commands", "acks", "expected"),
    [([], [], (20, None, None, 20)), ([command(1, 50)], [], (20, 30, None, None)),
     ([command(1, 50)], [ack(1, 60, "failed")], (20, 30, None, None))],
)  # fmt: skip
def test_what_has_not_happened_has_no_time(
    commands: list[dict[str, Any]], acks: list[dict[str, Any]], expected: tuple[float | None, ...]
) -> None:
    times = tell([action(1, 0)], commands, acks).times
    assert (times.judged_ms, times.ordered_ms, times.obeyed_ms, times.total_ms) == expected


def test_an_action_without_verdict_or_outcome_is_told_as_far_as_it_goes() -> None:
    story = tell([action(1, 0, None, outcome_status=None, outcome_ts=None)], [], [])
    assert [step.kind for step in story.steps] == [StepKind.ACTION]
    assert story.times.total_ms is None


@given(st.lists(st.integers(-1000, 1000), min_size=4, max_size=4))
def test_clocks_that_differ_make_no_time_negative(offsets: list[int]) -> None:
    one, two, three, four = offsets
    story = tell([action(1, one, scored_ts=at(two))], [command(1, three)], [ack(1, four)])
    times = [step.after_ms for step in story.steps if step.after_ms is not None]
    assert all(time >= 0 for time in times)
    assert [step.at for step in story.steps] == sorted(step.at for step in story.steps)
