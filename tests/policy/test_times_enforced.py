"""Rates and hours where they count: before the action in the SDK, by the event's time in the stream."""

from __future__ import annotations

import ctypes
import datetime as dt
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.test_pipeline_step import NOW_US, event, record, run, shard
from streams.test_pipeline_step import pipeline as pipeline_of
from vaultak import ActionBlockedError, ActionType, Decision, PolicySettings, Vaultak
from vaultak.floor import reason_unavailable
from vaultak.guard import Guard
from vaultak.policy import CompiledPolicy
from vaultak.policy.rules import Bundle, CompiledRules, Tally
from vaultak.testing import RecordingPublisher
from vaultak.wire import AgentState, CommandType, Outcome, OutcomeStatus
from vaultak_streams.pipeline.ledger import Ledger
from vaultak_streams.policy import bundle_from

READ = ActionType.FILE_READ


def bundle(more: str, tests: str = "action_type: file_read") -> Bundle:
    text = f"title: t\nid: r\nenforce: block\ndetection: {{s: {{{tests}}}, condition: s}}\n{more}\n"
    return bundle_from([("r.yaml", text)])


def policy(more: str) -> CompiledPolicy:
    return CompiledPolicy(PolicySettings(rules=bundle(more), max_risk_score=1.0, alert_risk_score=1.0))


def denied(guard: Guard, now_s: float, **more: Any) -> bool:
    return guard.judge(READ, "/srv/x", now_s, **more).decision is Decision.BLOCK


@given(st.lists(st.floats(-100, 100), max_size=60), st.integers(1, 5))
def test_a_clock_that_is_set_back_neither_forgets_nor_holds_on(steps: list[float], count: int) -> None:
    """What counts is the time that passes: a step back costs none."""
    guard = Guard(policy(f"rate: {{count: {count}, window: 60s}}"))
    clock = list(itertools.accumulate(steps, initial=1e9))
    times = [0]
    for last_s, now_s in itertools.pairwise([clock[0], *clock]):
        times.append(times[-1] + max(0, round((now_s - last_s) * 1e6)))
        within = sum(time > times[-1] - 60_000_000 for time in times[1:])
        assert denied(guard, now_s) is (within > count)


def test_a_resume_begins_new_windows() -> None:
    guard = Guard(policy("rate: {count: 1, window: 1h}"))
    assert [denied(guard, 0.0), denied(guard, 1.0)] == [False, True]
    guard.command(CommandType.PAUSE, 1)
    guard.command(CommandType.RESUME, 2)
    assert guard.state is AgentState.RUNNING
    assert [denied(guard, 2.0), denied(guard, 3.0)] == [False, True]


def test_a_pushed_policy_counts_on_by_the_rule_s_id() -> None:
    guard = Guard(policy("rate: {count: 2, window: 1h}"))
    assert not denied(guard, 0.0)
    guard.policy = guard.policy.with_rules(CompiledRules(bundle("rate: {count: 1, window: 1h}")))
    assert denied(guard, 1.0)


def test_files_reached_beside_the_resource_count_once() -> None:
    guard = Guard(policy("rate: {count: 1, window: 1h}"))
    also = [f"/srv/{n}" for n in range(9)]
    assert [denied(guard, 0.0, also=also), denied(guard, 1.0, also=also)] == [False, True]


def test_the_eleventh_read_of_a_file_is_blocked_and_others_go_on(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    published = RecordingPublisher()
    rules = bundle(
        "rate: {count: 10, window: 1h, by: [session_id, resource]}",
        f"action_type: file_read, resource|startswith: {tmp_path}",
    )
    with Vaultak(publisher=published, rollback_limit=0, rules=rules) as vt, vt.monitor("reader"):
        assert [(tmp_path / "a").read_text() for _ in range(10)] == ["a"] * 10
        with pytest.raises(ActionBlockedError, match="rule `r`: t"):
            (tmp_path / "a").read_text()
        assert (tmp_path / "b").read_text() == "b"
    statuses = [event.status for event in published.events() if isinstance(event, Outcome)]
    assert statuses.count(OutcomeStatus.DENIED) == 1


@pytest.mark.skipif(bool(reason_unavailable()), reason="no floor here")
def test_below_python_too_each_read_counts_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    rules = bundle(
        "rate: {count: 3, window: 1h, by: [resource]}", f"action_type: file_read, resource|startswith: {tmp_path}"
    )
    libc = ctypes.CDLL(None)
    native: list[bool] = []

    def work() -> list[str]:
        vt = Vaultak(publisher=RecordingPublisher(), rollback_limit=0, rules=rules, max_risk_score=1.0)
        with vt, vt.monitor("reader", floor="require"):
            read = [(tmp_path / "a").read_text() for _ in range(3)]
            with pytest.raises(ActionBlockedError):
                (tmp_path / "a").read_text()
            for _ in range(4):
                fd = libc.open(str(tmp_path / "b").encode(), os.O_RDONLY)
                native.append(fd >= 0)
                if fd >= 0:
                    libc.close(fd)
            return read

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result(30) == ["a"] * 3
    assert native == [True] * 3 + [False]


def test_a_preview_of_an_action_counts_nothing(tmp_path: Path) -> None:
    vt = Vaultak(publisher=RecordingPublisher(), rollback_limit=0, rules=bundle("rate: {count: 1, window: 1h}"))
    with vt, vt.monitor("reader", intercept=False) as m:
        assert not any(m.forbids(READ, "/srv/x") for _ in range(5))
        assert [m.check(READ, "/srv/x").decision for _ in range(2)] == [Decision.ALLOW, Decision.BLOCK]


def test_hours_are_those_of_the_clock_now() -> None:
    now = dt.datetime.now(dt.UTC)
    hours = "active: {{from: '{:%H:%M}', to: '{:%H:%M}'}}"
    hour = dt.timedelta(hours=1)
    for start, end, decision in [(-hour, hour, Decision.BLOCK), (2 * hour, 4 * hour, Decision.ALLOW)]:
        vt = Vaultak(publisher=RecordingPublisher(), rules=bundle(hours.format(now + start, now + end)))
        with vt, vt.monitor("reader", intercept=False) as m:
            assert m.check(READ, "/srv/x").decision is decision


RATED = "rate: {count: 2, window: 60s, by: [resource]}"
STEPS = [event(n, resource=f"/srv/{n % 2}") for n in range(7)]


@given(st.sets(st.integers(1, 6)))
def test_the_stream_counts_across_calls_and_restarts(cuts: set[int]) -> None:
    records = [record(n, step) for n, step in enumerate(STEPS)]
    limits: dict[str, Any] = {"rules": bundle(RATED), "max_risk_score": 1.0, "alert_risk_score": 1.0}
    whole = [verdict.decision for verdict in run(records, **limits).verdicts]
    assert whole == ["allow"] * 4 + ["block"] * 3
    parted = []
    state = shard()
    for start, end in itertools.pairwise([0, *sorted(cuts), 7]):
        result = pipeline_of(**limits).process(records[start:end], state, NOW_US)
        parted += [verdict.decision for verdict in result.verdicts]
        restored = shard()
        for agent_id, value in state.drain():
            restored.load(agent_id, value)
        state = restored
    assert parted == whole


def test_the_stream_goes_by_the_event_s_time() -> None:
    """An agent that was offline at night is judged by what it did then."""
    night = dt.datetime(2026, 1, 5, 23, tzinfo=dt.UTC)
    steps = [event(n, ts=(night + dt.timedelta(hours=9 * n)).isoformat()) for n in range(2)]
    result = run(
        [record(n, step) for n, step in enumerate(steps)],
        rules=bundle("active: {from: 22:00, to: 06:00}"),
        max_risk_score=1.0,
        alert_risk_score=1.0,
    )
    assert [verdict.decision for verdict in result.verdicts] == ["block", "allow"]


def test_the_stream_says_how_many_groups_made_room() -> None:
    steps = [event(0, resource=f"/srv/{n}", action_id=f"a{n}") for n in range(300)]
    result = run([record(n, step) for n, step in enumerate(steps)], rules=bundle(RATED), max_risk_score=1.0)
    assert result.counters["rates.forgotten"] == 300 - 256


def test_state_of_an_older_worker_is_read() -> None:
    older = msgspec.msgpack.decode(msgspec.msgpack.encode(Ledger(applied_offset=7, epoch=3)))[:-1]
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(older), type=Ledger)
    assert (read.applied_offset, read.epoch, read.tally) == (7, 3, Tally())
