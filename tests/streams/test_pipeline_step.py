"""The step: what a user of the pipeline gets, whatever comes in and however it is cut."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.tiny_engine import TinyEngine, TinyProfile
from vaultak.policy import KillSwitchMode, PolicySettings
from vaultak.wire import AgentState, CommandType, Decision, IncidentStatus, decode_verdict, encode, format_ts
from vaultak_streams.pipeline import dead_letters
from vaultak_streams.pipeline.shard import CorruptStateError, Shard
from vaultak_streams.pipeline.step import Pipeline, StepResult
from vaultak_streams.records import Record

NOW_US = 1_772_438_922_539_518


def event(n: int, agent: str = "a", **members: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "kind": "action",
        "agent_id": agent,
        "session_id": "s1",
        "ts": format_ts((NOW_US + n * 1_000_000) / 1e6),
        "action_id": f"action-{n}",
        "action_type": "file_read",
        "resource": "/tmp/x",
        "payload": {"risk": 0.1},
        **members,
    }


def record(offset: int, value: Any, key: bytes | None = None, partition: int = 0) -> Record:
    raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    return Record("vaultak.actions", partition, offset, key, raw, 0)


def pipeline(**policy: Any) -> Pipeline[TinyProfile]:
    return Pipeline(TinyEngine(), PolicySettings(**policy))


def shard(**options: Any) -> Shard[TinyProfile]:
    return Shard(0, TinyProfile.from_bytes, **options)


def run(records: list[Record], now_us: int | None = NOW_US, **policy: Any) -> StepResult:
    return pipeline(**policy).process(records, shard(), now_us)


def test_every_action_gets_one_verdict_in_order_and_other_events_none() -> None:
    records = [
        record(0, {**event(0), "kind": "context", "source": "user", "content": "go"}),
        record(1, event(1)),
        record(2, {**event(1), "kind": "outcome", "status": "ok"}),
        record(3, event(3, agent="b")),
    ]
    result = run(records)
    assert [verdict.action_id for verdict in result.verdicts] == ["action-1", "action-3"]
    assert result.counters["records"] == 4
    assert result.counters["actions"] == 2
    assert not result.dead_letters


def test_a_verdict_says_who_judged_it_when_and_by_what() -> None:
    verdict = run([record(0, event(0))]).verdicts[0]
    assert decode_verdict(encode(verdict)) == verdict
    assert verdict.scored_ts == format_ts(NOW_US / 1e6)
    assert verdict.model_version == "tiny-1"
    assert verdict.policy_version == PolicySettings().version
    assert run([record(0, event(0))], now_us=None).verdicts[0].scored_ts == event(0)["ts"]


BAD: dict[str, tuple[bytes | None, str]] = {
    "no value": (None, "invalid"),
    "empty": (b"", "malformed_json"),
    "not json": (b"{nonsense", "malformed_json"),
    "a list": (b"[]", "invalid"),
    "deeply nested": (b'{"payload": ' * 30_000, "malformed_json"),
    "a megabyte": (b'{"payload": "' + b"x" * 1_000_000 + b'"}', "too_large"),
    "unknown kind": (json.dumps({**event(0), "kind": "dance"}).encode(), "invalid"),
    "unknown type": (json.dumps({**event(0), "action_type": "teleport"}).encode(), "invalid"),
    "no agent": (json.dumps({k: v for k, v in event(0).items() if k != "agent_id"}).encode(), "invalid"),
    "wrong type": (json.dumps({**event(0), "payload": "text"}).encode(), "invalid"),
    "no such day": (json.dumps({**event(0), "ts": "2026-02-30T00:00:00.000000Z"}).encode(), "bad_timestamp"),
    "far ahead": (json.dumps({**event(0), "ts": "2031-01-01T00:00:00.000000Z"}).encode(), "clock_skew"),
    "not utf-8": (b'{"kind": "\xff\xfe"}', "malformed_json"),
}


@pytest.mark.parametrize(("value", "reason"), BAD.values(), ids=BAD.keys())
def test_what_is_no_event_becomes_a_dead_letter_and_the_next_is_judged(value: bytes | None, reason: str) -> None:
    result = run([record(7, value, key=b"k"), record(8, event(8))])
    (letter,) = result.dead_letters
    assert letter.reason == reason
    assert (letter.topic, letter.partition, letter.offset) == ("vaultak.actions", 0, 7)
    assert base64.b64decode(letter.key_base64) == b"k"
    assert base64.b64decode(letter.value_base64) == (value or b"")[: dead_letters.MAX_KEPT_BYTES]
    assert letter.value_sha256 == hashlib.sha256(value or b"").hexdigest()
    assert letter.value_truncated == (len(value or b"") > dead_letters.MAX_KEPT_BYTES)
    assert result.counters[f"dead_letters.{reason}"] == 1
    assert [verdict.action_id for verdict in result.verdicts] == ["action-8"]


def test_an_event_under_another_agents_key_is_refused() -> None:
    result = run([record(0, event(0), key=b"someone-else"), record(1, event(1), key=b"a")])
    assert [letter.reason for letter in result.dead_letters] == ["key_mismatch"]
    assert [verdict.action_id for verdict in result.verdicts] == ["action-1"]


def test_a_second_delivery_is_skipped_but_a_reused_id_is_judged() -> None:
    twice, reused = event(0), event(0, resource="/etc/shadow")
    result = run([record(0, twice), record(1, twice), record(2, reused)])
    assert [verdict.action_id for verdict in result.verdicts] == ["action-0", "action-0"]
    assert result.counters["duplicates"] == 1


def test_records_that_come_again_are_not_judged_again() -> None:
    job, state = pipeline(), shard()
    records = [record(n, event(n)) for n in range(5)]
    first = job.process(records, state, NOW_US)
    again = job.process(records, state, NOW_US)
    assert len(first.verdicts) == 5
    assert not again.verdicts
    assert again.counters["redelivered"] == 5


def test_an_event_that_breaks_the_engine_takes_nobody_with_it() -> None:
    healthy = [record(n * 10, event(n, agent="ab"[n % 2], payload={})) for n in range(8)]
    poison = record(45, event(100, agent="a", payload={"poison": True}))
    job, state = pipeline(), shard()
    before = job.process(healthy[:4], state, NOW_US)
    after = job.process([healthy[4], poison, *healthy[5:]], state, NOW_US)
    assert [letter.reason for letter in after.dead_letters] == ["unjudged"]
    assert "PoisonError" in after.dead_letters[0].detail
    assert before.verdicts + after.verdicts == run(healthy).verdicts


def test_a_risk_that_is_no_number_is_no_verdict() -> None:
    result = run([record(0, event(0, payload={"risk": 7})), record(1, event(1))])
    assert [letter.reason for letter in result.dead_letters] == ["unjudged"]
    assert [verdict.action_id for verdict in result.verdicts] == ["action-1"]


def test_the_mode_decides_over_the_limit_and_below_it_comes_an_alert() -> None:
    records = [record(n, event(n, payload={"risk": risk})) for n, risk in enumerate((0.1, 0.6, 0.9))]
    for mode in KillSwitchMode:
        decisions = [verdict.decision for verdict in run(records, mode=mode).verdicts]
        assert decisions == [Decision.ALLOW, Decision.ALERT, mode.decision]


def test_explicit_limits_hold_at_any_risk() -> None:
    result = run([record(0, event(0, resource="/srv/prod.db"))], blocked_resources=("*prod*",))
    assert result.verdicts[0].decision is Decision.BLOCK
    assert result.verdicts[0].rules == ("blocked_resources",)
    assert [command.command for command in result.commands] == [CommandType.DENY]


def test_too_many_actions_in_a_minute_are_stopped() -> None:
    burst = [record(n, {**event(n), "ts": event(0)["ts"]}) for n in range(12)]
    decisions = [verdict.decision for verdict in run(burst, max_actions_per_minute=10).verdicts]
    assert decisions == [Decision.ALLOW] * 10 + [Decision.PAUSE] * 2


def test_an_incident_is_opened_once_and_collects_what_belongs_to_it() -> None:
    risks = (0.6, 0.9, 0.1, 0.6, 0.95)
    result = run([record(n, event(n, payload={"risk": risk})) for n, risk in enumerate(risks)], now_us=None)
    assert [incident.status for incident in result.incidents] == [
        IncidentStatus.OPENED,
        IncidentStatus.UPDATED,
        IncidentStatus.UPDATED,
    ]
    last = result.incidents[-1]
    assert {incident.incident_id for incident in result.incidents} == {last.incident_id}
    assert last.action_ids == ("action-1", "action-3", "action-4")
    assert last.risk == 0.95
    assert last.severity == "pause"
    assert last.command_ids == tuple(command.command_id for command in result.commands)
    assert all(command.incident_id == last.incident_id for command in result.commands)


def test_a_state_command_leaves_a_state_behind() -> None:
    result = run([record(0, event(0, payload={"risk": 0.9}))], mode=KillSwitchMode.KILL)
    (state,) = result.states
    assert state.state is AgentState.KILLED
    assert state.command == result.commands[0]
    assert state.epoch == NOW_US


def test_times_that_cannot_be_written_do_not_stop_the_step() -> None:
    records = [
        record(0, event(0, ts="9999-12-31T23:59:59.999999Z", payload={"risk": 0.9})),
        record(1, event(1, ts="0001-01-01T00:00:00.000000Z", payload={"risk": 0.9})),
    ]
    assert len(run(records, now_us=None).verdicts) == 2


AGENTS = st.sampled_from("abc")
EVENTS = st.one_of(
    st.builds(
        lambda n, agent, session, risk, lag: event(
            n, agent, session_id=session, payload={} if risk is None else {"risk": risk}, ts=event(n - lag)["ts"]
        ),
        st.integers(0, 40),
        AGENTS,
        st.sampled_from(["s1", "s2"]),
        st.sampled_from([None, 0.2, 0.6, 0.9]),
        st.integers(0, 3),
    ),
    st.builds(lambda n, agent: event(n, agent, payload={"poison": True}), st.integers(41, 60), AGENTS),
    st.builds(lambda n, agent: {**event(n, agent), "kind": "outcome", "status": "ok"}, st.integers(0, 40), AGENTS),
    st.sampled_from([b"", b"{}", b"nonsense"]),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(EVENTS, max_size=40),
    st.lists(st.integers(1, 7), min_size=1, max_size=40),
    st.sampled_from(list(KillSwitchMode)),
    st.booleans(),
)
def test_results_do_not_depend_on_how_records_are_cut(
    values: list[Any], cuts: list[int], mode: KillSwitchMode, through_the_changelog: bool
) -> None:
    """Nor on a restart from the changelog between any two cuts."""
    records = [record(n, value) for n, value in enumerate(values)]
    whole = run(records, now_us=None, mode=mode)
    job, state, parts = pipeline(mode=mode), shard(), StepResult()
    saved: dict[str, bytes | None] = {}
    at = 0
    for cut in [*cuts, len(records)]:
        result = job.process(records[at : at + cut], state, None)
        at += cut
        for field in ("verdicts", "commands", "states", "incidents", "dead_letters"):
            getattr(parts, field).extend(getattr(result, field))
        parts.counters.update(result.counters)
        if through_the_changelog:
            saved |= dict(state.drain())
            state = shard()
            for agent_id, value in saved.items():
                state.load(agent_id, value)
    assert parts == whole
    assert [encode(verdict) for verdict in parts.verdicts] == [encode(verdict) for verdict in whole.verdicts]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.none(), st.binary(max_size=300)), st.one_of(st.none(), st.binary(max_size=20)))))
def test_any_bytes_are_survived(messages: list[tuple[bytes | None, bytes | None]]) -> None:
    result = run([record(n, value, key) for n, (value, key) in enumerate(messages)])
    assert len(result.dead_letters) + len(result.verdicts) <= len(messages)
    assert all(encode(letter) for letter in result.dead_letters)


def test_the_entry_that_has_seen_more_wins_whatever_comes_last() -> None:
    """A worker that lost its partition and wrote on for a moment cannot bring an older state back."""
    job, state = pipeline(), shard()
    job.process([record(0, event(0))], state, NOW_US)
    ((agent, old),) = state.drain()
    job.process([record(1, event(1))], state, NOW_US)
    ((_, new),) = state.drain()
    restored = shard()
    restored.load(agent, new)
    restored.load(agent, old)
    assert restored.profiles["a"].events == 2
    assert job.process([record(1, event(1))], restored, NOW_US).counters["redelivered"] == 1


@given(st.binary(max_size=200))
def test_a_changelog_of_any_bytes_is_refused_cleanly(value: bytes) -> None:
    state = shard()
    with pytest.raises(CorruptStateError):
        state.load("a", value)
    assert len(state) == 0


def test_a_topic_made_anew_does_not_silence_its_agents() -> None:
    job, state = pipeline(), shard()
    job.process([record(5000, event(0))], state, NOW_US)
    assert state.rewind(end=3) == 1
    assert len(job.process([record(2, event(1))], state, NOW_US).verdicts) == 1


def test_the_agents_silent_longest_are_forgotten_beyond_the_capacity() -> None:
    job, state = pipeline(), shard(capacity=3)
    job.process([record(n, event(n, agent=f"agent-{n}")) for n in range(5)], state, NOW_US)
    saved = dict(state.drain())
    assert [agent for agent, value in saved.items() if value is None] == ["agent-0", "agent-1"]
    assert list(state) == ["agent-2", "agent-3", "agent-4"]
    assert state.forgotten == 2
