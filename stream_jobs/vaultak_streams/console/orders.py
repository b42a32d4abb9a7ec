"""What an operator asks for, checked before anything is sent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from vaultak.approvals import GrantScope
from vaultak.errors import VaultakError
from vaultak.undo import StepResult
from vaultak.wire import CommandType
from vaultak.wire.commands import EVERY_AGENT
from vaultak_streams.console.operators import Operator, Role
from vaultak_streams.operate import Delivery, Grant

MAX_REASON_CHARS = 500
MAX_ID_CHARS = 256
MAX_KEPT = 500

ABOUT_ONE_ACTION = (CommandType.APPROVE, CommandType.DENY)
OFFERED = (
    CommandType.PAUSE, CommandType.RESUME, CommandType.KILL, CommandType.ROLLBACK, *ABOUT_ONE_ACTION,
)  # fmt: skip
FOR_EVERY_AGENT = (CommandType.PAUSE, CommandType.RESUME, CommandType.KILL)


class OrderError(VaultakError):
    """The order makes no sense; says why."""


class NotAllowedError(VaultakError):
    """The operator's role does not cover it."""


class ConsoleOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One act on one agent, or on all (`*`)."""

    agent_id: str
    command: CommandType
    action_id: str = ""
    incident_id: str = ""
    reason: str = ""
    scope: str = ""

    @classmethod
    def of(cls, form: Mapping[str, object]) -> ConsoleOrder:
        """From a form or a query. Raises `OrderError`."""
        text = {name: str(form.get(name, "")).strip() for name in cls.__struct_fields__}
        if text["command"] not in OFFERED:
            raise OrderError("that command is not offered here")
        command = CommandType(text["command"])
        if not text["agent_id"] or any(len(text[n]) > MAX_ID_CHARS for n in ("agent_id", "action_id", "incident_id")):
            raise OrderError("the agent is missing, or an id is too long")
        if command in ABOUT_ONE_ACTION and not text["action_id"]:
            raise OrderError(f"`{command}` is about one action: its id is missing")
        if text["agent_id"] == EVERY_AGENT and command not in FOR_EVERY_AGENT:
            raise OrderError(f"`{command}` is for one agent at a time")
        if len(text["reason"]) > MAX_REASON_CHARS:
            raise OrderError(f"a reason has {MAX_REASON_CHARS} characters at most")
        if text["scope"] and (command is not CommandType.APPROVE or text["scope"] not in list(GrantScope)):
            raise OrderError("a scope is `once`, `session` or `pattern`, and goes with an approval")
        return cls(**{**text, "command": command})  # type: ignore[arg-type]

    @property
    def grant(self) -> Grant | None:
        return Grant(GrantScope(self.scope)) if self.scope else None

    @property
    def needs(self) -> Role:
        return Role.ADMIN if self.agent_id == EVERY_AGENT else Role.OPERATOR

    def check(self, operator: Operator) -> None:
        """Raises `NotAllowedError`."""
        if not operator.role.covers(self.needs):
            raise NotAllowedError(f"a {operator.role} may not do this; it takes {_article(self.needs)}")


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an order. `steps`: what was taken back on this machine, where no instance ran any more."""

    delivery: Delivery
    steps: tuple[StepResult, ...] = ()


class Deliveries:
    """The last orders given here, by command id: the audit store has them a moment later."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Done] = OrderedDict()

    def keep(self, done: Done) -> None:
        self._kept[done.delivery.command.command_id] = done
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def get(self, command_id: str) -> Done | None:
        return self._kept.get(command_id)


def _article(role: Role) -> str:
    return f"an {role}"
