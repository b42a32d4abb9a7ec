"""`rollback`: the agent is held first, so that nothing it does runs between the steps, then its actions are undone."""

from __future__ import annotations

from vaultak.wire import AgentState, CommandType
from vaultak_streams.respond.case import Case, Draft


def respond(_case: Case) -> tuple[Draft, ...]:
    return (Draft(CommandType.PAUSE, AgentState.PAUSED), Draft(CommandType.ROLLBACK))
