"""Where a case stands: does somebody have to do something about it?"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Mapping
from typing import Any

from vaultak.wire import AckResult, CommandType
from vaultak_streams.incidents.grouping import IncidentCase

QUIET_AFTER = dt.timedelta(hours=24)
"""A case about which nothing new was heard for so long is over, unless something still waits."""


class Phase(enum.StrEnum):
    """In falling urgency."""

    WAITING = "waiting"
    """An action is held until somebody approves or denies it."""
    OPEN = "open"
    """Its actions were stopped one by one; the agent itself goes on."""
    CONTAINED = "contained"
    """The agent is paused or killed, or what it had done is reversed."""
    QUIET = "quiet"
    """Nothing new for a day."""
    CLOSED = "closed"
    """An operator said so, and nothing new has come since."""


URGENT = (Phase.WAITING, Phase.OPEN)

_CONTAINING = {CommandType.PAUSE, CommandType.KILL, CommandType.ROLLBACK}


def phase(
    case: IncidentCase,
    *,
    held: bool,
    agent_state: str,
    commands: Iterable[Mapping[str, Any]],
    now: dt.datetime,
) -> Phase:
    """`held`: an action of the case waits for an answer. `commands`: those about it, with what was answered
    (`results`)."""
    if case.closed:
        return Phase.CLOSED
    if held:
        return Phase.WAITING
    if now - aware(case.updated) > QUIET_AFTER:
        return Phase.QUIET
    if agent_state in ("paused", "killed") or any(_contained(command) for command in commands):
        return Phase.CONTAINED
    return Phase.OPEN


def _contained(command: Mapping[str, Any]) -> bool:
    return command["command"] in _CONTAINING and AckResult.APPLIED in command["results"]


def aware(when: dt.datetime) -> dt.datetime:
    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)
