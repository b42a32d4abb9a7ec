"""A monitor with the floor under it: what the hook cannot see is judged outside the process."""

from __future__ import annotations

import logging
import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from vaultak.agent import Agent
from vaultak.errors import VaultakError
from vaultak.floor.laid import LaidFloor, source_directories
from vaultak.floor.launch import order_for
from vaultak.monitor import Monitor
from vaultak.wire import ActionType, AgentState

if TYPE_CHECKING:
    from vaultak.client import Vaultak
    from vaultak.floor.orders import Order

log = logging.getLogger("vaultak")

Floor = Literal["off", "auto", "require"]


class _Thread(threading.local):
    """The floor under the running thread; a filter cannot be taken away again."""

    laid: LaidFloor | None = None


_thread = _Thread()


class FlooredMonitor(Monitor):
    """As `Monitor`; entered, the system calls of its thread, of threads and of processes that it starts are judged too.

    With `require`, entering raises `VaultakError` where the machine has no floor; with `auto` a warning is logged.
    """

    def __init__(self, client: Vaultak, agent: Agent, require: bool, **keywords: Any) -> None:
        super().__init__(agent, **keywords)
        self._client = client
        self._require = require
        self._floor: LaidFloor | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._floor = self._lay()
        except BaseException:
            super().__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        floor, self._floor = self._floor, None
        if floor is not None:
            floor.end()

    def _lay(self) -> LaidFloor | None:
        order = order_for(self._client, self.agent_id, self.session_id, self.labels, source_directories())
        laid = _thread.laid
        if laid is not None and laid.process_id == os.getpid():
            laid.begin(order)
            return laid
        return self._lay_anew(order)

    def _lay_anew(self, order: Order) -> LaidFloor | None:
        try:
            _thread.laid = LaidFloor(self._client, order, self._learn_killed)
        except (OSError, VaultakError) as e:
            if self._require:
                raise VaultakError(str(e)) from None
            log.warning("agent %r runs without a floor: %s", self.agent_id, e)
            return None
        return _thread.laid

    def _learn_killed(self, agent_id: str) -> None:
        """The supervisor's agent was killed: so is this one."""
        agent = self._client._agents.get(agent_id)
        if agent is not None:
            agent._set_state(AgentState.KILLED, "killed below Python")

    # -- actions -----------------------------------------------------------------------------------------------

    def before(self, action_type: ActionType, resource: str, payload: dict[str, Any], *, assurance: str = "") -> str:
        action_id = super().before(action_type, resource, payload, assurance=assurance)
        self._note(action_type, resource, payload)
        return action_id

    async def before_async(
        self, action_type: ActionType, resource: str, payload: dict[str, Any], *, assurance: str = ""
    ) -> str:
        action_id = await super().before_async(action_type, resource, payload, assurance=assurance)
        self._note(action_type, resource, payload)
        return action_id

    def _note(self, action_type: ActionType, resource: str, payload: dict[str, Any]) -> None:
        if self._floor is not None:
            also = payload.get("address")
            self._floor.notes.note(action_type, resource, *((also,) if isinstance(also, str) else ()))

    def approve(self, action_id: str | None = None) -> None:
        super().approve(action_id)
        if self._floor is not None:
            self._floor.tell("approve", action_id or "")

    def deny(self, action_id: str | None = None) -> None:
        super().deny(action_id)
        if self._floor is not None:
            self._floor.tell("deny", action_id or "")
