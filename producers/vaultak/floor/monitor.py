"""A monitor with the floor under it: what the hook cannot see is judged outside the process."""

from __future__ import annotations

import functools
import logging
import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from vaultak import governor, outside
from vaultak.agent import Agent
from vaultak.approvals import DEFAULT_GRANT_S, GrantScope
from vaultak.errors import VaultakError
from vaultak.floor.laid import LaidFloor, source_directories
from vaultak.floor.launch import order_for
from vaultak.monitor import Monitor
from vaultak.wire import ActionType, AgentState

if TYPE_CHECKING:
    from vaultak.client import Vaultak
    from vaultak.floor.notes import Notes
    from vaultak.floor.orders import Order
    from vaultak.undo import StepResult

log = logging.getLogger("vaultak")

Floor = Literal["off", "auto", "require"]


class _Thread(threading.local):
    """The floor under the running thread; a filter cannot be taken away again."""

    laid: LaidFloor | None = None


_thread = _Thread()

_JOURNALED = (ActionType.FILE_WRITE, ActionType.FILE_DELETE, ActionType.PERMISSION_CHANGE)


class FlooredMonitor(Monitor):
    """As `Monitor`; entered, the system calls of its thread, of threads and of processes that it starts are judged too.

    With `require`, entering raises `VaultakError` where the machine has no floor; with `auto` a warning is logged.
    """

    def __init__(self, client: Vaultak, agent: Agent, require: bool, **keywords: Any) -> None:
        super().__init__(agent, **keywords)
        self._client = client
        self._require = require
        self._floor: LaidFloor | None = None
        self._notes: Notes | None = None

    def __enter__(self) -> Self:
        if self._token is None and not self._agent.closed:
            self._stand()
        try:
            return super().__enter__()
        except BaseException:
            self._lift()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._lift()

    def hand_down(self) -> str:
        """Nothing: the floor is under every child already, and a hook in it would record each action once more."""
        return "" if self._floor is not None or self._notes is not None else super().hand_down()

    def _lift(self) -> None:
        floor, self._floor, self._notes = self._floor, None, None
        if floor is not None:
            floor.end()

    def _stand(self) -> None:
        """Lay a floor, or stand on the one that the thread has inherited: that goes on judging for its own agent."""
        outer = governor.current()
        if _thread.laid is None and isinstance(outer, FlooredMonitor) and outer._notes is not None:
            self._notes = outer._notes
            return
        token = governor.activate(None)  # what it takes is no action of whoever governs the thread so far
        try:
            self._floor = self._lay()
        finally:
            governor.deactivate(token)
        self._notes = self._floor.notes if self._floor is not None else None

    def _lay(self) -> LaidFloor | None:
        order = order_for(self._client, self.agent_id, self.session_id, self.labels, source_directories())
        laid = _thread.laid
        if laid is not None and laid.process_id == os.getpid():
            laid.begin(order)
            return laid
        return self._lay_anew(order)

    def _lay_anew(self, order: Order) -> LaidFloor | None:
        outside.prepare()
        self._client._the_publisher()
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
        if self._notes is None:
            return
        also = payload.get("address")
        self._notes.note(action_type, resource, *((also,) if isinstance(also, str) else ()))
        if action_type in _JOURNALED:  # reading what is about to be lost is the SDK's doing
            self._notes.note(ActionType.FILE_READ, resource)

    def rollback(self, limit: int | None = None) -> list[StepResult]:
        """As in `Monitor`, on a thread outside the floor: undoing is no action of the agent's."""
        return outside.prepare().run(functools.partial(super().rollback, limit))

    def approve(
        self,
        action_id: str | None = None,
        *,
        scope: GrantScope | str = GrantScope.ONCE,
        for_s: float = DEFAULT_GRANT_S,
    ) -> None:
        super().approve(action_id, scope=scope, for_s=for_s)
        if self._floor is not None:
            self._floor.tell("approve", action_id or "")

    def deny(self, action_id: str | None = None) -> None:
        super().deny(action_id)
        if self._floor is not None:
            self._floor.tell("deny", action_id or "")
