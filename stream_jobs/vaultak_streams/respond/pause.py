"""`pause`: the agent's next action waits until an operator resumes or denies it."""

from __future__ import annotations

from vaultak.wire import AgentState, CommandType
from vaultak_streams.respond.case import Case, Draft


def respond(_case: Case) -> tuple[Draft, ...]:
    return (Draft(CommandType.PAUSE, AgentState.PAUSED),)
