"""One agent in this process: its guard, its events, its undo log, and those of its actions that wait.

Monitors are sessions over it; the control listener acts on it. Everything it decides is on record before anyone
learns of it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vaultak.audit import AuditTrail
from vaultak.emitter import Emitter
from vaultak.errors import ActionBlockedError, AgentKilledError, AgentPausedError
from vaultak.guard import Guard
from vaultak.policy.evaluate import CompiledPolicy, LocalVerdict
from vaultak.wire import (
    AckResult,
    ActionType,
    AgentState,
    Command,
    CommandType,
    ContextSource,
    Decision,
    Local,
    OutcomeStatus,
    StateRecord,
    uuid7,
)

if TYPE_CHECKING:
    from vaultak.undo import StepResult, UndoLog

log = logging.getLogger("vaultak")

_PASSES = (Decision.ALLOW, Decision.ALERT)


class Agent:
    """The governed side of one agent id. Thread-safe."""

    def __init__(
        self,
        emitter: Emitter,
        policy: CompiledPolicy,
        undo: UndoLog | None,
        *,
        rollback_limit: int,
        pause_timeout_s: float,
        trail_limit: int,
    ) -> None:
        self.agent_id = emitter.agent_id
        self.emitter = emitter
        self.undo = undo
        self.trail = AuditTrail(trail_limit)
        self.rollback_limit = rollback_limit
        self.pause_timeout_s = pause_timeout_s
        self._guard = Guard(policy)
        self._changed = threading.Condition(threading.RLock())
        self._wakers: set[Callable[[], None]] = set()
        self._waiting: deque[str] = deque(maxlen=1024)

    @property
    def state(self) -> AgentState:
        return self._guard.state

    # -- judging -----------------------------------------------------------------------------------------------

    def judge(
        self,
        session_id: str,
        action_type: ActionType,
        resource: str,
        payload: dict[str, Any],
        *,
        labels: dict[str, str],
        assurance: str = "",
        parent_action_id: str = "",
    ) -> tuple[str, LocalVerdict]:
        """Decide on an action and put it on record; returns its id and the verdict."""
        now_s = time.time()
        action_id = uuid7()
        with self._changed:
            verdict = self._guard.judge(action_type, resource, now_s)
            action = self.emitter.action(
                action_id,
                session_id,
                now_s,
                action_type,
                resource,
                payload,
                Local(
                    decision=verdict.decision,
                    risk=verdict.risk,
                    reasons=verdict.reasons,
                    policy_version=self._guard.policy.version,
                ),
                labels=labels,
                assurance=assurance,
                parent_action_id=parent_action_id,
            )
        self.trail.action(action)
        return action_id, verdict

    def enforce(self, session_id: str, action_id: str, verdict: LocalVerdict) -> None:
        """Let the action pass, wait, or raise. What happened to a denied one is on record."""
        if verdict.decision not in _PASSES and self._open(session_id, action_id, verdict):
            if self._wait(action_id):
                return
            self._close(session_id, action_id, verdict)

    async def enforce_async(self, session_id: str, action_id: str, verdict: LocalVerdict) -> None:
        """As `enforce`; a pause leaves the event loop free."""
        if verdict.decision not in _PASSES and self._open(session_id, action_id, verdict):
            if await self._wait_async(action_id):
                return
            self._close(session_id, action_id, verdict)

    def _open(self, session_id: str, action_id: str, verdict: LocalVerdict) -> bool:
        """Put a stopping decision into effect. True: the action may wait. Raises when it may not."""
        why = "; ".join(verdict.reasons) or verdict.decision
        match verdict.decision:
            case Decision.PAUSE:
                with self._changed:
                    if self._guard.state is AgentState.RUNNING:
                        self._set_state(AgentState.PAUSED, why)
                    self._waiting.append(action_id)
                return True
            case Decision.KILL:
                self._set_state(AgentState.KILLED, why)
                self.outcome(session_id, action_id, OutcomeStatus.DENIED, error=why)
                raise AgentKilledError(f"agent `{self.agent_id}` is killed: {why}", action_id=action_id)
            case Decision.ROLLBACK:
                self._set_state(AgentState.PAUSED, why)
                self.outcome(session_id, action_id, OutcomeStatus.DENIED, error=why)
                self.rollback(session_id)
        if verdict.decision is Decision.BLOCK:
            self.outcome(session_id, action_id, OutcomeStatus.DENIED, error=why)
        raise ActionBlockedError(f"action blocked: {why}", action_id=action_id, reasons=verdict.reasons)

    def _close(self, session_id: str, action_id: str, verdict: LocalVerdict) -> None:
        """The wait is over and the action may not run: say why on record, then raise."""
        reasons = verdict.reasons
        if self._guard.state is AgentState.KILLED:
            why = f"agent `{self.agent_id}` is killed: {self._guard.state_reason}"
            self.outcome(session_id, action_id, OutcomeStatus.DENIED, error=why)
            raise AgentKilledError(why, action_id=action_id, reasons=reasons)
        if self._guard.ruling(action_id) is False:
            self.outcome(session_id, action_id, OutcomeStatus.DENIED, error="denied by an operator")
            raise ActionBlockedError("action denied by an operator", action_id=action_id, reasons=reasons)
        why = f"agent `{self.agent_id}` stayed paused for {self.pause_timeout_s:g} s: {'; '.join(reasons)}"
        self.outcome(session_id, action_id, OutcomeStatus.PAUSED, error=why)
        raise AgentPausedError(why, action_id=action_id, reasons=reasons)

    # -- waiting -----------------------------------------------------------------------------------------------

    def _answer(self, action_id: str) -> bool | None:
        """Whether a waiting action may run; `None` while nobody has said."""
        if self._guard.state is AgentState.KILLED:
            return False
        if (ruling := self._guard.ruling(action_id)) is not None:
            return ruling
        return True if self._guard.state is AgentState.RUNNING else None

    def _wait(self, action_id: str) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._answer(action_id) is not None, self.pause_timeout_s)
            return bool(self._answer(action_id))

    async def _wait_async(self, action_id: str) -> bool:
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._changed:
            self._wakers.add(wake)
        try:
            async with asyncio.timeout(self.pause_timeout_s):
                while self._answer(action_id) is None:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass
        finally:
            with self._changed:
                self._wakers.discard(wake)
        return bool(self._answer(action_id))

    def _set_state(self, state: AgentState, reason: str) -> None:
        with self._changed:
            if self._guard.state is not AgentState.KILLED:
                self._guard.set_state(state, reason)
            self._announce()

    def _announce(self) -> None:
        """Wake everyone who waits for a change; the lock is held."""
        self._changed.notify_all()
        for wake in tuple(self._wakers):
            try:
                wake()
            except RuntimeError:  # its loop is closed
                self._wakers.discard(wake)

    # -- orders ------------------------------------------------------------------------------------------------

    def obey(self, command: Command) -> tuple[AckResult, str]:
        """Apply a verified command; returns what to acknowledge."""
        match command.command:
            case CommandType.PAUSE | CommandType.RESUME | CommandType.KILL:
                return self._obey_state(command.command, command.epoch, command.reason)
            case CommandType.APPROVE | CommandType.DENY:
                return self._obey_ruling(command.action_id, allow=command.command is CommandType.APPROVE)
            case CommandType.ROLLBACK:
                return self._obey_rollback()
        return AckResult.IGNORED, f"`{command.command}` is not supported by this agent"

    def learn(self, record: StateRecord) -> None:
        """Take over the state found at start; a newer command wins."""
        with self._changed:
            if record.epoch > self._guard.epoch:
                self._guard.epoch = record.epoch
                self._guard.set_state(record.state, record.command.reason)
                self._announce()

    def _obey_state(self, command: CommandType, epoch: int, reason: str) -> tuple[AckResult, str]:
        with self._changed:
            if not self._guard.command(command, epoch, reason):
                return AckResult.IGNORED, f"epoch {epoch} is not newer than {self._guard.epoch}"
            self._announce()
            return AckResult.APPLIED, str(self._guard.state)

    def _obey_ruling(self, action_id: str, *, allow: bool) -> tuple[AckResult, str]:
        with self._changed:
            waits = action_id in self._waiting
            self._guard.rule(action_id, allow=allow)
            self._announce()
        return (AckResult.APPLIED, "") if waits else (AckResult.IGNORED, "no such action waits here")

    def _obey_rollback(self) -> tuple[AckResult, str]:
        if self.undo is None:
            return AckResult.FAILED, "this agent keeps no undo log"
        steps = self.rollback("")
        counts = {status: sum(s.status == status for s in steps) for status in ("reversed", "conflict", "unsupported")}
        return AckResult.APPLIED, ", ".join(
            f"{n} {status}" for status, n in counts.items() if n
        ) or "nothing to reverse"

    def approve(self, action_id: str | None) -> None:
        """Let one waiting action run, or with `None` all of them and the agent with them."""
        with self._changed:
            if action_id is not None:
                self._guard.rule(action_id, allow=True)
            elif self._guard.state is AgentState.PAUSED:
                self._guard.set_state(AgentState.RUNNING)
            self._announce()

    def deny(self, action_id: str | None) -> None:
        """Refuse one waiting action, or all that wait now."""
        with self._changed:
            for waiting in [action_id] if action_id is not None else list(self._waiting):
                self._guard.rule(waiting, allow=False)
            self._announce()

    # -- what came of it ---------------------------------------------------------------------------------------

    def outcome(
        self,
        session_id: str,
        action_id: str,
        status: OutcomeStatus,
        *,
        content: str = "",
        error: str = "",
        duration_ms: float | None = None,
    ) -> None:
        outcome = self.emitter.outcome(
            action_id, session_id, time.time(), status, content=content, error=error, duration_ms=duration_ms
        )
        self.trail.outcome(outcome)

    def context(self, session_id: str, content: str, source: ContextSource) -> None:
        self.emitter.context(uuid7(), session_id, time.time(), source, content)

    def rollback(self, session_id: str, limit: int | None = None) -> list[StepResult]:
        """Reverse the last actions, newest first; each reversal is on record as an outcome."""
        if self.undo is None:
            return []
        steps = self.undo.rollback(limit_actions=self.rollback_limit if limit is None else limit)
        by_action: dict[str, list[StepResult]] = {}
        for step in steps:
            by_action.setdefault(step.action_id, []).append(step)
        for action_id, own in by_action.items():
            complete = all(step.status == "reversed" for step in own)
            self.outcome(
                self.trail.session_of(action_id) or session_id or "unknown",
                action_id,
                OutcomeStatus.REVERSED if complete else OutcomeStatus.ERROR,
                error="" if complete else "; ".join(f"{s.status}: {s.target}: {s.detail}" for s in own)[:2000],
            )
        return steps
