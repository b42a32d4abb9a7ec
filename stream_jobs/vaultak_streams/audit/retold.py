"""A suspected action told again from its events, by the sink's own code, and held to its row column by column."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from vaultak_streams.audit import actions
from vaultak_streams.audit.actions import Suspect, names
from vaultak_streams.audit.findings import Finding, What
from vaultak_streams.records import Record
from vaultak_streams.sink.rows import Arrival, moment, rows_of_event
from vaultak_streams.store.client import Store

_FETCHED = 500

_EVENTS = """
SELECT action_id, kind, value FROM events_log
WHERE agent_id = {agent:String} AND action_id IN {ids:Array(String)} AND kind IN ('action', 'outcome')
"""

_ROWS = "SELECT * FROM action_parts FINAL WHERE agent_id = {agent:String} AND action_id IN {ids:Array(String)}"

_ARRIVAL = {"ingested_at", "ingested_day"}
_OUTCOME = {"outcome_status", "outcome_ts", "duration_ms", "content", "error"}
_VERDICT = {
    "scored_ts", "risk", "destructiveness", "sensitivity", "payload_factor", "rate", "behaviour", "provenance",
    "explanation", "decision", "rules", "reasons", "policy_version", "model_version", "baseline_events", "verdict_seal",
}  # fmt: skip
_KEYS = {"agent_id", "action_id"}
_TIMES = {"ts", "outcome_ts"}

_CONDUCT = (
    (actions.NO_VERDICT, What.NO_VERDICT),
    (actions.NO_OUTCOME, What.NO_OUTCOME),
    (actions.OUTCOME_ALONE, What.OUTCOME_ALONE),
)

Values = dict[str, list[Any]]
"""For each column the values that events bring."""


def confirmed(store: Store, suspects: list[Suspect]) -> Iterator[Finding]:
    """The findings among these actions."""
    for agent_id, of_agent in names(suspects):
        for start in range(0, len(of_agent), _FETCHED):
            yield from _of_agent(store, agent_id, of_agent[start : start + _FETCHED])


def _of_agent(store: Store, agent_id: str, suspects: Sequence[Suspect]) -> Iterator[Finding]:
    parameters = {"agent": agent_id, "ids": [suspect.action_id for suspect in suspects]}
    told: dict[str, Values] = {}
    for action_id, _, value in store.query(_EVENTS, parameters).rows:
        _tell(told.setdefault(action_id, {}), agent_id, value)
    rows = {row["action_id"]: row for row in store.query(_ROWS, parameters).records()}
    for suspect in suspects:
        for what, detail in _wrong(suspect, rows.get(suspect.action_id), told.get(suspect.action_id, {})):
            yield Finding(what, agent_id, suspect.session_id, suspect.instance, suspect.seq, suspect.action_id, detail)


def _tell(values: Values, agent_id: str, message: str) -> None:
    record = Record("", 0, 0, agent_id.encode(), message.encode(errors="replace"), 0)
    for shape, row in rows_of_event(record, Arrival.of(dt.datetime.now(dt.UTC))):
        if shape.table == "action_parts":
            for column, value in zip(shape.columns, row, strict=True):
                if value is not None:
                    values.setdefault(column, []).append(_as_read(column, value))


def _as_read(column: str, value: Any) -> Any:
    """What the sink writes, as the store gives it back."""
    if column in _TIMES:
        return moment(value)
    return value.decode() if isinstance(value, bytes) else value


def _wrong(suspect: Suspect, row: dict[str, Any] | None, told: Values) -> Iterator[tuple[What, str]]:
    is_action = row is not None and row["action_type"] is not None
    if "action_type" in told and not is_action:
        yield What.ACTION_MISSING, ""
    elif is_action and "action_type" not in told:
        if suspect.flags & actions.INVENTED:
            yield What.ACTION_INVENTED, ""
    elif row is not None and (columns := _changed(row, told, suspect)):
        yield What.ACTION_CHANGED, f"differs in {', '.join(columns)}"
    for flag, what in _CONDUCT:
        if suspect.flags & flag and not (what is What.OUTCOME_ALONE and "action_type" in told):
            yield what, ""


def _changed(row: dict[str, Any], told: Values, suspect: Suspect) -> list[str]:
    """Columns whose value no event brings. Those of the verdict are not told by events."""
    compared = set(row) - _ARRIVAL - _VERDICT - _KEYS
    if "action_type" not in told:
        compared = compared & _OUTCOME
    if "outcome_status" not in told and not suspect.flags & actions.CHANGED:
        compared -= _OUTCOME
    return sorted(name for name in compared if not _is_told(name, row[name], told))


def _is_told(name: str, value: Any, told: Values) -> bool:
    values = told.get(name, [])
    if value is None:
        return not values
    if name == "local_risk":
        return _single(value) in map(_single, values)
    return value in values


def _single(value: float) -> float:
    """As a Float32 column keeps it."""
    return float(struct.unpack("f", struct.pack("f", value))[0])
