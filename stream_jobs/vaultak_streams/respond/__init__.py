"""What a decision leads to: one file per response, chosen here. Pure.

To add one: a module with a `respond(case) -> tuple[Draft, ...]`, its decision in `RESPONSES`, a test, a line in
`docs/stream.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vaultak.wire import Decision
from vaultak_streams.pipeline.ledger import Ledger
from vaultak_streams.respond import deny, kill, pause, rollback
from vaultak_streams.respond.case import Case, Draft, Order
from vaultak_streams.respond.issue import issue

RESPONSES: Mapping[Decision, Callable[[Case], tuple[Draft, ...]]] = {
    Decision.PAUSE: pause.respond,
    Decision.BLOCK: deny.respond,
    Decision.ROLLBACK: rollback.respond,
    Decision.KILL: kill.respond,
}
"""`allow` and `alert` lead to no command: an alert is what the incident and the verdict say."""


def respond(case: Case, ledger: Ledger) -> tuple[list[Order], int]:
    """The commands a verdict leads to, unsigned, and how many were left out as repeats."""
    response = RESPONSES.get(case.verdict.decision)
    return issue(response(case), case, ledger) if response else ([], 0)


__all__ = ["RESPONSES", "Case", "Draft", "Order", "respond"]
