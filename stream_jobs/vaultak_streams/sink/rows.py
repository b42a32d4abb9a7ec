"""Records become rows: pure. One function per topic; what does not decode is kept raw."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from vaultak.wire import (
    Ack,
    Action,
    Command,
    DeadLetter,
    DecodeError,
    Event,
    Incident,
    Outcome,
    StateRecord,
    Topics,
    Verdict,
    decode_event,
    parse_ts_us,
)
from vaultak_streams.records import Record

Row = dict[str, Any]


class Shape(msgspec.Struct, frozen=True, eq=False):
    """A table, and which of its columns rows fill, in which order. Known by identity."""

    table: str
    columns: tuple[str, ...]


Rows = Sequence[tuple[Shape, tuple[Any, ...]]]
"""Rows, each with its shape. Times of events, actions and verdicts are ticks: what ClickHouse stores."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_OLDEST_US = 0
_NEWEST_US = 7_258_118_400_000_000  # 2200-01-01: what DateTime64(6) holds for certain

_json = msgspec.json.encode
_blake2b = hashlib.blake2b


class Arrival(msgspec.Struct, frozen=True):
    """When the rows of a batch came, in the forms in which columns take it."""

    at: dt.datetime
    at_us: int
    at_ms: int
    day: int
    """Days since the epoch."""

    @classmethod
    def of(cls, at: dt.datetime) -> Arrival:
        us = (at - _EPOCH) // dt.timedelta(microseconds=1)
        return cls(at, us, us // 1000, us // 86_400_000_000)


def moment(ts_us: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=ticks(ts_us))


def ticks(ts_us: int) -> int:
    """A time in microseconds, or the nearest that a column holds."""
    return ts_us if _OLDEST_US <= ts_us <= _NEWEST_US else min(max(ts_us, _OLDEST_US), _NEWEST_US)


def ticks_of(text: str, fallback_us: int) -> int:
    try:
        return ticks(parse_ts_us(text))
    except (ValueError, OverflowError):
        return fallback_us


def moment_of(text: str, fallback: dt.datetime) -> dt.datetime:
    try:
        return moment(parse_ts_us(text))
    except (ValueError, OverflowError):
        return fallback


RAW = Shape(
    "events_log",
    (
        "agent_id", "event_id", "kind", "session_id", "action_id", "instance", "seq", "ts", "topic", "partition",
        "offset", "value", "ingested_at",
    ),
)  # fmt: skip
_ARRIVAL = ("ingested_at", "ingested_day")
ACTION = Shape(
    "action_parts",
    (
        "agent_id", "action_id", "session_id", "instance", "seq", "ts", "action_type", "resource", "payload",
        "payload_bytes", "payload_truncated", "parent_action_id", "trace_id", "labels", "assurance", "local_decision",
        "local_risk", "local_reasons", *_ARRIVAL,
    ),
)  # fmt: skip
OUTCOME = Shape(
    "action_parts",
    ("agent_id", "action_id", "outcome_status", "outcome_ts", "duration_ms", "content", "error", *_ARRIVAL),
)
VERDICT = Shape(
    "action_parts",
    (
        "agent_id", "action_id", "session_id", "ts", "scored_ts", "risk", "destructiveness", "sensitivity",
        "payload_factor", "rate", "behaviour", "provenance", "explanation", "decision", "rules", "reasons",
        "policy_version", "model_version", "baseline_events", *_ARRIVAL,
    ),
)  # fmt: skip


def rows_of_event(record: Record, now: Arrival) -> Rows:
    """The raw record, and the part of an action's row that it brings."""
    if record.objection:
        return (_unusable(record, now, "unauthenticated"),)
    try:
        event, ts_us = decode_event(record.value)
    except DecodeError:
        return (_unusable(record, now, "undecodable"),)
    ts = ticks(ts_us)
    if isinstance(event, Action):
        return _raw(record, now, event, "action", event.action_id, ts), (ACTION, _action(event, ts, now))
    if isinstance(event, Outcome):
        return _raw(record, now, event, "outcome", event.action_id, ts), (OUTCOME, _outcome(event, ts, now))
    return (_raw(record, now, event, "context", "", ts),)


def _raw(
    record: Record, now: Arrival, event: Event, kind: str, action_id: str, ts: int
) -> tuple[Shape, tuple[Any, ...]]:
    value = record.value or b""
    seq = event.seq
    return RAW, (
        event.agent_id,
        _event_id(value),
        kind,
        event.session_id,
        action_id,
        event.instance,
        None if seq is UNSET else seq,
        ts,
        record.topic,
        record.partition,
        record.offset,
        value,  # as it came: what decodes is UTF-8
        now.at_ms,
    )


def _unusable(record: Record, now: Arrival, why: str) -> tuple[Shape, tuple[Any, ...]]:
    value = record.value or b""
    return RAW, (
        (record.key or b"").decode(errors="replace"),
        _event_id(value),
        why,
        "",
        "",
        "",
        None,
        ticks(record.ts_ms * 1000),
        record.topic,
        record.partition,
        record.offset,
        value.decode(errors="replace").encode(),
        now.at_ms,
    )


def is_unusable(rows: Rows) -> bool:
    shape, row = rows[0]
    return shape is RAW and row[2] in ("undecodable", "unauthenticated")


def _event_id(value: bytes) -> int:
    return int.from_bytes(_blake2b(value, digest_size=16).digest(), "little")


def _action(event: Action, ts: int, now: Arrival) -> tuple[Any, ...]:
    local = event.local
    given = (local.decision, local.risk, _json(local.reasons) if local.reasons else None) if local else _NO_VERDICT
    seq, size = event.seq, event.payload_bytes
    return (
        event.agent_id,
        event.action_id,
        event.session_id,
        event.instance,
        None if seq is UNSET else seq,
        ts,
        event.action_type._value_,
        event.resource,
        _json(event.payload),
        None if size is UNSET else size,
        event.payload_truncated,
        event.parent_action_id or None,
        event.trace_id or None,
        _json(event.labels) if event.labels else None,
        event.assurance or None,
        *given,
        now.at_ms,
        now.day,
    )


_NO_VERDICT = (None, None, None)


def _outcome(event: Outcome, ts: int, now: Arrival) -> tuple[Any, ...]:
    duration_ms = event.duration_ms
    return (
        event.agent_id,
        event.action_id,
        event.status._value_,
        ts,
        None if duration_ms is UNSET else duration_ms,
        event.content or None,
        event.error or None,
        now.at_ms,
        now.day,
    )


def rows_of_verdict(record: Record, verdict: Verdict, now: Arrival) -> Rows:
    factors = verdict.factors
    row = (
        verdict.agent_id,
        verdict.action_id,
        verdict.session_id,
        ticks_of(verdict.ts, now.at_us),
        ticks_of(verdict.scored_ts, now.at_us),
        verdict.risk,
        factors.destructiveness,
        factors.sensitivity,
        factors.payload,
        factors.rate,
        factors.behaviour,
        factors.provenance,
        _list(verdict.explanation),
        verdict.decision._value_,
        _list(verdict.rules),
        _list(verdict.reasons),
        verdict.policy_version,
        verdict.model_version,
        verdict.baseline_events,
        now.at_ms,
        now.day,
    )
    return ((VERDICT, row),)


def _list(items: tuple[Any, ...]) -> bytes:
    return _json(items) if items else b"[]"


def rows_of_command(record: Record, command: Command, now: Arrival) -> Rows:
    members = msgspec.structs.asdict(command)
    row = {
        **members,
        "command": command.command.value,
        "ts": moment_of(command.ts, now.at),
        "expires_at": moment_of(command.expires_at, now.at),
        "ingested_at": now.at,
    }
    return (shaped("commands_log", row),)


def rows_of_ack(record: Record, ack: Ack, now: Arrival) -> Rows:
    members = msgspec.structs.asdict(ack)
    row = {**members, "result": ack.result.value, "ts": moment_of(ack.ts, now.at), "ingested_at": now.at}
    return (shaped("acks_log", row),)


def rows_of_state(record: Record, state: StateRecord, now: Arrival) -> Rows:
    row = {
        "agent_id": state.agent_id,
        "state": state.state.value,
        "epoch": max(0, state.epoch),
        "ts": moment_of(state.ts, now.at),
        "reason": state.command.reason,
        "ingested_at": now.at,
    }
    return (shaped("agent_states", row),)


def rows_of_incident(record: Record, incident: Incident, now: Arrival) -> Rows:
    row = {
        **msgspec.structs.asdict(incident),
        "status": incident.status.value,
        "ts": moment_of(incident.ts, now.at),
        "action_ids": list(incident.action_ids),
        "command_ids": list(incident.command_ids),
        "version": record.offset,
        "ingested_at": now.at,
    }
    return (shaped("incidents_log", row),)


def rows_of_dead_letter(record: Record, letter: DeadLetter, now: Arrival) -> Rows:
    row = {**msgspec.structs.asdict(letter), "ts": moment_of(letter.ts, now.at), "ingested_at": now.at}
    return (shaped("dead_letters_log", row),)


Decoded = tuple[type[msgspec.Struct], Callable[[Record, Any, Arrival], Rows]]


def routes(topics: Topics) -> Mapping[str, Decoded | None]:
    """Each topic that the sink reads, with its message and how that becomes rows; `None`: the topic of events."""
    return {
        topics.actions: None,
        topics.verdicts: (Verdict, rows_of_verdict),
        topics.control: (Command, rows_of_command),
        topics.agent_state: (StateRecord, rows_of_state),
        topics.acks: (Ack, rows_of_ack),
        topics.incidents: (Incident, rows_of_incident),
        topics.dead_letter: (DeadLetter, rows_of_dead_letter),
    }


def undecodable(record: Record, error: str, now: Arrival) -> Rows:
    """A record of another topic that is not the message it should be."""
    row = {
        "reason": "undecodable",
        "detail": error[:1000],
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "ts": moment(record.ts_ms * 1000),
        "key_base64": "",
        "value_base64": "",
        "value_bytes": len(record.value or b""),
        "value_truncated": True,
        "value_sha256": "",
        "ingested_at": now.at,
    }
    return (shaped("dead_letters_log", row),)


_shapes: dict[tuple[str, tuple[str, ...]], Shape] = {}


def shaped(table: str, row: Row) -> tuple[Shape, tuple[Any, ...]]:
    """A row by the names of its columns. For tables that grow slowly: their shapes are as few as our structs."""
    key = table, tuple(row)
    return _shapes.get(key) or _shapes.setdefault(key, Shape(*key)), tuple(row.values())
