"""`block`: this one action is refused; the agent goes on."""

from __future__ import annotations

from vaultak.wire import CommandType
from vaultak_streams.respond.case import Case, Draft


def respond(_case: Case) -> tuple[Draft, ...]:
    return (Draft(CommandType.DENY),)
