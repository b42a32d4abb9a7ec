"""`kill`: every further action of the agent is refused, also after a restart."""

from __future__ import annotations

from vaultak.wire import AgentState, CommandType
from vaultak_streams.respond.case import Case, Draft


def respond(_case: Case) -> tuple[Draft, ...]:
    return (Draft(CommandType.KILL, AgentState.KILLED),)
