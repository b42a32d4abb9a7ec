"""What a response gets to see, and what it answers."""

from __future__ import annotations

from typing import NamedTuple

from vaultak.wire import AgentState, Command, CommandType, Verdict


class Case(NamedTuple):
    """A verdict that calls for a response."""

    verdict: Verdict
    reason: str
    incident_id: str
    issued_by: str
    event_us: int
    """The action's own time, microseconds."""
    now_us: int
    """The time of judging, microseconds."""
    identity: str
    """A digest of the event's bytes: what command ids are derived from."""


class Draft(NamedTuple):
    """A command to be given. `state` is where it puts the agent, for commands that do."""

    command: CommandType
    state: AgentState | None = None


class Order(NamedTuple):
    """A command, complete but for its signature."""

    command: Command
    state: AgentState | None
