"""An incident told: what was tried, judged, ordered and obeyed, in order, and how long each step took."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from vaultak.wire import SEVERITY, Decision
from vaultak_streams.incidents.grouping import severity_rank
from vaultak_streams.incidents.life import aware


class StepKind(enum.StrEnum):
    ACTION = "action"
    VERDICT = "verdict"
    COMMAND = "command"
    ACK = "ack"
    OUTCOME = "outcome"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. `after_ms`: since the step it answers (a verdict its action, an acknowledgement its
    command, an outcome its action), or since the verdict that a command follows from."""

    at: dt.datetime
    kind: StepKind
    text: str
    mark: str = ""
    """A decision, command, result or status: what a reader looks for."""
    detail: str = ""
    action_id: str = ""
    risk: float | None = None
    after_ms: float | None = None


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long it took, in milliseconds; `None`: has not happened. Each figure starts where the one before ended."""

    judged_ms: float | None = None
    """From the first stopping action to its verdict."""
    ordered_ms: float | None = None
    """From that verdict to the first command."""
    obeyed_ms: float | None = None
    """From that command to the first acknowledgement that it was applied."""
    total_ms: float | None = None
    """From the action to that acknowledgement; where no command was needed, to the verdict."""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    steps: tuple[Step, ...]
    times: Times


def tell(
    actions: Iterable[Mapping[str, Any]], commands: Iterable[Mapping[str, Any]], acks: Iterable[Mapping[str, Any]]
) -> Story:
    """The story of these rows of the views `actions`, `commands` and `acks`, in any order."""
    actions = sorted(actions, key=lambda row: row["ts"])
    commands = sorted(commands, key=lambda row: row["ts"])
    acks = sorted(acks, key=lambda row: row["ts"])
    steps = [step for action in actions for step in _of_action(action)]
    steps += [_of_command(command, actions) for command in commands]
    ordered_at = {command["command_id"]: command["ts"] for command in commands}
    steps += [_of_ack(ack, ordered_at) for ack in acks]
    ranks = {kind: rank for rank, kind in enumerate(StepKind)}
    return Story(
        steps=tuple(sorted(steps, key=lambda step: (step.at, ranks[step.kind]))), times=_times(actions, commands, acks)
    )


def _of_action(row: Mapping[str, Any]) -> Iterable[Step]:
    ts, action_id = aware(row["ts"]), row["action_id"]
    yield Step(at=ts, kind=StepKind.ACTION, text=row["resource"], mark=row["action_type"], action_id=action_id)
    if row["scored_ts"] is not None and row["decision"]:
        yield Step(
            at=max(ts, aware(row["scored_ts"])),
            kind=StepKind.VERDICT,
            text="; ".join(row["reasons"]) or ("nothing against it" if row["decision"] == Decision.ALLOW else ""),
            mark=row["decision"],
            risk=row["risk"],
            action_id=action_id,
            after_ms=_ms(row["ts"], row["scored_ts"]),
        )
    if row["outcome_ts"] is not None and row["outcome_status"]:
        yield Step(
            at=max(ts, aware(row["outcome_ts"])),
            kind=StepKind.OUTCOME,
            text=row["resource"],
            mark=row["outcome_status"],
            action_id=action_id,
            after_ms=_ms(row["ts"], row["outcome_ts"]),
        )


def _of_command(row: Mapping[str, Any], actions: list[Mapping[str, Any]]) -> Step:
    judged = [a["scored_ts"] for a in actions if a["scored_ts"] and _stops(a) and a["scored_ts"] <= row["ts"]]
    return Step(
        at=aware(row["ts"]),
        kind=StepKind.COMMAND,
        text=f"by {row['issued_by']}",
        mark=row["command"],
        detail=row["reason"],
        action_id=row["action_id"],
        after_ms=_ms(max(judged), row["ts"]) if judged else None,
    )


def _of_ack(row: Mapping[str, Any], ordered_at: Mapping[str, dt.datetime]) -> Step:
    since = ordered_at.get(row["command_id"])
    return Step(
        at=aware(row["ts"]),
        kind=StepKind.ACK,
        text=row["instance"],
        mark=row["result"],
        detail=row["detail"],
        after_ms=_ms(since, row["ts"]) if since else None,
    )


def _times(actions: list[Mapping[str, Any]], commands: list[Mapping[str, Any]], acks: list[Mapping[str, Any]]) -> Times:
    first = next((row for row in actions if _stops(row) and row["scored_ts"]), None)
    if first is None:
        return Times()
    judged = _ms(first["ts"], first["scored_ts"])
    command = next((row for row in commands if row["ts"] >= first["ts"]), None)
    if command is None:
        return Times(judged_ms=judged, total_ms=judged)
    ordered = _ms(first["scored_ts"], command["ts"])
    ack = next((r for r in acks if r["command_id"] == command["command_id"] and r["result"] == "applied"), None)
    if ack is None:
        return Times(judged_ms=judged, ordered_ms=ordered)
    return Times(
        judged_ms=judged,
        ordered_ms=ordered,
        obeyed_ms=_ms(command["ts"], ack["ts"]),
        total_ms=_ms(first["ts"], ack["ts"]),
    )


def _stops(row: Mapping[str, Any]) -> bool:
    return severity_rank(row["decision"] or "") >= SEVERITY[Decision.PAUSE]


def _ms(start: dt.datetime, end: dt.datetime) -> float:
    """Never negative: clocks of agents and workers differ."""
    return max(0.0, (aware(end) - aware(start)).total_seconds() * 1000)
