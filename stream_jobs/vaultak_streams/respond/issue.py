"""From drafts to commands: ids, epochs, expiry, and no repeats of what was ordered a moment ago."""

from __future__ import annotations

from vaultak.wire import Command, derived_uuid7
from vaultak_streams.pipeline.ledger import Ledger
from vaultak_streams.pipeline.moments import moment
from vaultak_streams.respond.case import Case, Draft, Order

COMMAND_LIFETIME_US = 300_000_000
"""How long a command may wait for its agent; one that starts later learns its state from `agent-state`."""

REPEAT_US = 1_000_000
"""The same state command to the same agent within this time is not given again: the first one holds. A command that
concerns a single action (`deny`, `rollback`) is never left out."""


def issue(drafts: tuple[Draft, ...], case: Case, ledger: Ledger) -> tuple[list[Order], int]:
    """Complete the drafts, in order. Returns the orders and how many were left out as repeats."""
    orders: list[Order] = []
    suppressed = 0
    for draft in drafts:
        if draft.state is not None and _is_repeat(draft, case, ledger):
            suppressed += 1
            continue
        orders.append(Order(_command(draft, case, ledger), draft.state))
    return orders, suppressed


def _is_repeat(draft: Draft, case: Case, ledger: Ledger) -> bool:
    since_us = case.now_us - ledger.last_state_command_us
    if draft.command == ledger.last_state_command and 0 <= since_us < REPEAT_US:
        return True
    ledger.last_state_command, ledger.last_state_command_us = draft.command.value, case.now_us
    return False


def _command(draft: Draft, case: Case, ledger: Ledger) -> Command:
    verdict = case.verdict
    return Command(
        command_id=derived_uuid7(case.event_us, "command", draft.command, verdict.agent_id, case.identity),
        agent_id=verdict.agent_id,
        command=draft.command,
        ts=moment(case.now_us),
        expires_at=moment(case.now_us + COMMAND_LIFETIME_US),
        issued_by=case.issued_by,
        epoch=ledger.next_epoch(case.now_us) if draft.state is not None else 0,
        action_id=verdict.action_id,
        incident_id=case.incident_id,
        reason=case.reason,
    )
