"""Records become rows: pure. One function per topic; what does not decode is kept raw."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from vaultak.wire import (
    Ack,
    Action,
    Command,
    Context,
    DeadLetter,
    DecodeError,
    Event,
    Incident,
    Local,
    Outcome,
    StateRecord,
    Topics,
    Verdict,
    decode_event,
    parse_ts_us,
)
from vaultak_streams.records import Record

Row = dict[str, Any]
Rows = list[tuple[str, Row]]
"""Rows with the table of each."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_OLDEST_US = 0
_NEWEST_US = 7_258_118_400_000_000  # 2200-01-01: what DateTime64(6) holds for certain

_json = msgspec.json.encode


def moment(ts_us: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=min(max(ts_us, _OLDEST_US), _NEWEST_US))


def moment_of(text: str, fallback: dt.datetime) -> dt.datetime:
    try:
        return moment(parse_ts_us(text))
    except (ValueError, OverflowError):
        return fallback


def rows_of_event(record: Record, now: dt.datetime) -> Rows:
    """The raw record, and the part of an action's row that it brings."""
    try:
        event, ts_us = decode_event(record.value)
    except DecodeError:
        return [("events_log", _raw(record, now, None, moment(record.ts_ms * 1000)))]
    ts = moment(ts_us)
    raw = ("events_log", _raw(record, now, event, ts))
    if isinstance(event, Action):
        return [raw, ("action_parts", _action(event, ts, now))]
    if isinstance(event, Outcome):
        return [raw, ("action_parts", _outcome(event, ts, now))]
    return [raw]


def _raw(record: Record, now: dt.datetime, event: Event | None, ts: dt.datetime) -> Row:
    value = record.value or b""
    kinds: dict[type, str] = {Action: "action", Outcome: "outcome", Context: "context"}
    return {
        "agent_id": event.agent_id if event else (record.key or b"").decode(errors="replace"),
        "event_id": int.from_bytes(hashlib.blake2b(value, digest_size=16).digest(), "little"),
        "kind": kinds[type(event)] if event else "undecodable",
        "session_id": event.session_id if event else "",
        "action_id": event.action_id if isinstance(event, Action | Outcome) else "",
        "instance": event.instance if event else "",
        "seq": _set(event.seq) if event else None,
        "ts": ts,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "value": value.decode(errors="replace"),
        "ingested_at": now,
    }


def _action(event: Action, ts: dt.datetime, now: dt.datetime) -> Row:
    local = event.local if isinstance(event.local, Local) else None
    return {
        "agent_id": event.agent_id,
        "action_id": event.action_id,
        "session_id": event.session_id,
        "instance": event.instance,
        "seq": _set(event.seq),
        "ts": ts,
        "action_type": event.action_type.value,
        "resource": event.resource,
        "payload": _text(event.payload),
        "payload_bytes": _set(event.payload_bytes),
        "payload_truncated": event.payload_truncated,
        "parent_action_id": event.parent_action_id or None,
        "trace_id": event.trace_id or None,
        "labels": _text(event.labels) if event.labels else None,
        "assurance": event.assurance or None,
        "local_decision": local.decision if local else None,
        "local_risk": local.risk if local else None,
        "local_reasons": _text(local.reasons) if local and local.reasons else None,
        **_arrival(now),
    }


def _outcome(event: Outcome, ts: dt.datetime, now: dt.datetime) -> Row:
    return {
        "agent_id": event.agent_id,
        "action_id": event.action_id,
        "outcome_status": event.status.value,
        "outcome_ts": ts,
        "duration_ms": _set(event.duration_ms),
        "content": event.content or None,
        "error": event.error or None,
        **_arrival(now),
    }


def rows_of_verdict(record: Record, verdict: Verdict, now: dt.datetime) -> Rows:
    factors = verdict.factors
    row = {
        "agent_id": verdict.agent_id,
        "action_id": verdict.action_id,
        "session_id": verdict.session_id,
        "ts": moment_of(verdict.ts, now),
        "scored_ts": moment_of(verdict.scored_ts, now),
        "risk": verdict.risk,
        "destructiveness": factors.destructiveness,
        "sensitivity": factors.sensitivity,
        "payload_factor": factors.payload,
        "rate": factors.rate,
        "behaviour": factors.behaviour,
        "provenance": factors.provenance,
        "explanation": _text(verdict.explanation),
        "decision": verdict.decision.value,
        "rules": _text(verdict.rules),
        "reasons": _text(verdict.reasons),
        "policy_version": verdict.policy_version,
        "model_version": verdict.model_version,
        "baseline_events": verdict.baseline_events,
        **_arrival(now),
    }
    return [("action_parts", row)]


def rows_of_command(record: Record, command: Command, now: dt.datetime) -> Rows:
    members = msgspec.structs.asdict(command)
    return [
        (
            "commands_log",
            {
                **members,
                "command": command.command.value,
                "ts": moment_of(command.ts, now),
                "expires_at": moment_of(command.expires_at, now),
                "ingested_at": now,
            },
        )
    ]


def rows_of_ack(record: Record, ack: Ack, now: dt.datetime) -> Rows:
    members = msgspec.structs.asdict(ack)
    return [("acks_log", {**members, "result": ack.result.value, "ts": moment_of(ack.ts, now), "ingested_at": now})]


def rows_of_state(record: Record, state: StateRecord, now: dt.datetime) -> Rows:
    row = {
        "agent_id": state.agent_id,
        "state": state.state.value,
        "epoch": max(0, state.epoch),
        "ts": moment_of(state.ts, now),
        "reason": state.command.reason,
        "ingested_at": now,
    }
    return [("agent_states", row)]


def rows_of_incident(record: Record, incident: Incident, now: dt.datetime) -> Rows:
    row = {
        **msgspec.structs.asdict(incident),
        "status": incident.status.value,
        "ts": moment_of(incident.ts, now),
        "action_ids": list(incident.action_ids),
        "command_ids": list(incident.command_ids),
        "version": record.offset,
        "ingested_at": now,
    }
    return [("incidents_log", row)]


def rows_of_dead_letter(record: Record, letter: DeadLetter, now: dt.datetime) -> Rows:
    row = {**msgspec.structs.asdict(letter), "ts": moment_of(letter.ts, now), "ingested_at": now}
    return [("dead_letters_log", row)]


Decoded = tuple[type[msgspec.Struct], Callable[[Record, Any, dt.datetime], Rows]]


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


def undecodable(record: Record, error: str, now: dt.datetime) -> Rows:
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
        "ingested_at": now,
    }
    return [("dead_letters_log", row)]


def _arrival(now: dt.datetime) -> Row:
    return {"ingested_at": now, "ingested_day": now.date()}


def _set(value: Any) -> Any:
    return None if isinstance(value, msgspec.UnsetType) else value


def _text(value: Any) -> str:
    return _json(value).decode()
