"""One agent in this process: its guard, its events, its undo log, and those of its actions that wait.

Monitors are sessions over it; the control listener acts on it. Everything it decides is on record before anyone
learns of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultak import governor
from vaultak._native import new_id
from vaultak.approvals import DEFAULT_GRANT_S, Approvals, Asked, GrantScope, digest_of
from vaultak.audit import AuditTrail
from vaultak.emitter import Emitter, Span
from vaultak.ending import end, uncancel
from vaultak.errors import ActionBlockedError, AgentKilledError, AgentPausedError
from vaultak.guard import STATE_RULE, Guard
from vaultak.opinions import Opinions
from vaultak.policy.evaluate import CompiledPolicy, LocalVerdict, further_resources
from vaultak.policy.fields import NOBODY, Subject
from vaultak.policy.rules import Occasion
from vaultak.repeat import Fixed, Repeat
from vaultak.turning import WaitCancelledError
from vaultak.waiting import WaitingRoom
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
    Verdict,
    format_ts,
    parse_ts,
)

if TYPE_CHECKING:
    from vaultak.control.policies import Shelf
    from vaultak.undo import StepResult, UndoLog

log = logging.getLogger("vaultak")

_RUNNING = AgentState.RUNNING
_PASSES = (Decision.ALLOW, Decision.ALERT)
_OVER = (OutcomeStatus.OK, OutcomeStatus.ERROR)
_CANCELLED = "its task was cancelled while it waited"


class Judged(NamedTuple):
    """An action on record."""

    action_id: str
    ts: str
    verdict: LocalVerdict


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
        self.closed = False
        self.unrecorded = 0
        """Events lost to an error of the SDK's own."""
        self.hand_down: Callable[[str, dict[str, str]], str] | None = None
        """Session and labels -> what a child process needs to go on as this agent, see `vaultak.inherit`."""
        self.begin_anew: Callable[[], None] | None = None
        """Called before the first action in a forked child: what its parent's threads did has to be taken up there."""
        self._guard = Guard(policy)
        self._labels: Mapping[str, str] = {}
        self._shelf: Shelf | None = None
        self._approvals = Approvals()
        self.opinions = Opinions()
        self.hears_verdicts = False
        """Whether the stream's verdicts arrive, see `hear_verdict`: without, none is waited for."""
        self._forked = False
        self._make_locks()
        _LIVING.add(self)

    def _make_locks(self) -> None:
        self._waiting = WaitingRoom()
        self._lock = self._waiting.lock

    def after_fork_in_child(self) -> None:
        """Another thread may have held a lock, and whoever waited is not here."""
        self._make_locks()
        self.trail.make_lock()
        self._forked = True

    def close(self) -> None:
        """The client let go of it: it still judges and records, but keeps no undo log any more."""
        self.closed = True
        undo, self.undo = self.undo, None
        if undo is not None:
            undo.close()

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
        action_id: str = "",
        at_s: float | None = None,
        span: Span | None = None,
    ) -> Judged:
        """Decide on an action and put it on record.

        `action_id`, `at_s` (epoch seconds): of an action that somebody else has named and timed; a new id and now
        otherwise. It is judged by this process's clock all the same.
        """
        if self._forked:
            self._begin_anew()
        now_s = time.time()
        action_id = action_id or new_id()
        also = further_resources(payload) if "resources" in payload else ()
        with self._lock:
            policy = self._guard.policy
            subject = NOBODY if policy.rules is None else Subject(self.agent_id, session_id, labels)
            verdict = self._guard.judge(action_type, resource, now_s, also, subject, payload)
            if verdict.approval:
                asked = Asked(session_id, action_type, resource, digest_of(payload), verdict.rules)
                if self._approvals.granted(asked, now_s):
                    self._guard.rule(action_id, allow=True)
                self._approvals.ask(action_id, asked)
            if verdict.grey and self.hears_verdicts:
                self.opinions.expect(action_id)
        local = Local(verdict.decision, verdict.risk, verdict.reasons, policy.version)
        try:
            ts = self.emitter.action(
                action_id,
                session_id,
                now_s if at_s is None else at_s,
                action_type,
                resource,
                payload,
                local,
                labels=labels,
                assurance=assurance,
                parent_action_id=parent_action_id,
                span=span,
            )
        except Exception as e:  # noqa: BLE001 - whatever it is, it is ours
            self._not_recorded(f"action {action_id} on `{resource[:200]}`", e)
            ts = format_ts(now_s)
        self.trail.action((action_id, session_id, ts, action_type, resource, local))
        return Judged(action_id, ts, verdict)

    def repeatable(
        self,
        session_id: str,
        action_type: ActionType,
        resource: str,
        payload: Fixed,
        labels: dict[str, str],
        assurance: str,
    ) -> Repeat | None:
        """How to allow an action again that has just been allowed; `None` where each has to be judged."""
        policy = self._guard.policy
        if not policy.is_pure:
            return None
        subject = Subject(self.agent_id, session_id, labels)
        verdict = policy.evaluate(action_type, resource, subject=subject, payload=payload)
        if verdict.decision is not Decision.ALLOW or verdict.reasons or verdict.grey:
            return None
        local = Local(verdict.decision, verdict.risk, (), policy.version)
        write, head = self.emitter.prepared(session_id, action_type, resource, payload, local, labels, assurance)
        return Repeat(payload, policy, self.emitter.chain, local, write, head)

    def repeat(self, session_id: str, action_type: ActionType, resource: str, known: Repeat) -> str:
        """Put an action on record that is allowed as it was before; its id, or nothing where it has to be judged."""
        guard = self._guard
        if (
            guard.state is not _RUNNING
            or guard.policy is not known.policy
            or self.emitter.chain is not known.chain
            or self._forked
        ):
            return ""
        action_id, now_s = new_id(), time.time()
        try:
            ts = known.write(action_id, now_s, known.head)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is ours
            self._not_recorded(f"action {action_id} on `{resource[:200]}`", e)
            ts = format_ts(now_s)
        self.trail.action((action_id, session_id, ts, action_type, resource, known.local))
        return action_id

    def forbids(self, action_type: ActionType, resource: str, also: Sequence[str]) -> bool:
        """Whether limits, rules or state stand against an action, its risk aside. Puts nothing on record."""
        if self._guard.state is not AgentState.RUNNING:
            return True
        verdict = self.foresee(action_type, resource, Subject(self.agent_id), also=also, risk=0.0)
        return verdict.decision not in _PASSES

    def foresee(self, action_type: ActionType, resource: str, subject: Subject, **more: Any) -> LocalVerdict:
        """What limits and rules say of an action, whatever the state and rates. Nothing is counted or recorded."""
        occasion = Occasion(time.time())
        return self._guard.policy.evaluate(action_type, resource, subject=subject, occasion=occasion, **more)

    def refuse(
        self, session_id: str, action_type: ActionType, resource: str, payload: dict[str, Any], why: str, **more: Any
    ) -> None:
        """Record an action that may not run for a reason of the SDK's own, and raise `ActionBlockedError`."""
        now_s, action_id = time.time(), new_id()
        static = self._guard.policy.evaluate(action_type, resource).static
        local = Local(Decision.BLOCK, static.risk, (why,), self._guard.policy.version)
        ts = self.emitter.action(action_id, session_id, now_s, action_type, resource, payload, local, **more)
        self.trail.action((action_id, session_id, ts, action_type, resource, local))
        self.outcome(session_id, action_id, OutcomeStatus.DENIED, error=why)
        raise ActionBlockedError(f"action blocked: {why}", action_id=action_id, reasons=(why,))

    def describe(self, labels: Mapping[str, str]) -> None:
        """What the agent is known by from here on: some policies are pushed to agents with certain labels."""
        with self._lock:
            self._labels = dict(labels)
            shelf = self._shelf
        if shelf is not None:
            self.adopt(shelf)

    def adopt(self, shelf: Shelf) -> str:
        """Judge by the newest pushed rules that are for this agent; the policy's version where that is a change.

        An action under way is judged by the policy that it met; the limits of this program stay.
        """
        with self._lock:
            self._shelf = shelf
            pushed = shelf.for_labels(self._labels)
            if pushed is None or pushed.rules is self._guard.policy.rules:
                return ""
            self._guard.policy = self._guard.policy.with_rules(pushed.rules)
            return self._guard.policy.version

    @property
    def policy(self) -> CompiledPolicy:
        """What it is judged by now."""
        return self._guard.policy

    @property
    def policy_version(self) -> str:
        return self._guard.policy.version

    def _begin_anew(self) -> None:
        self._forked = False
        if self.begin_anew is not None:
            self.begin_anew()

    def enforce(self, session_id: str, action_id: str, verdict: LocalVerdict) -> None:
        """Let the action pass, wait, or raise. What happened to a denied one is on record.

        A waiting action is not judged again: once the agent is resumed, or the action approved, it runs. Should the
        agent have been paused anew by the time its thread wakes up, it goes on waiting.
        """
        if verdict.grey and verdict.decision in _PASSES:
            if self.hears_verdicts:
                settings = self._guard.policy.settings
                try:
                    self._waiting.wait(action_id, lambda: self._told(action_id), settings.verdict_timeout_ms / 1e3)
                except WaitCancelledError:
                    self.outcome(session_id, action_id, OutcomeStatus.DENIED, error=_CANCELLED)
                    raise asyncio.CancelledError from None
            verdict = self._second_opinion(session_id, action_id, verdict)
        if verdict.decision not in _PASSES and self._open(session_id, action_id, verdict):
            try:
                if self._waiting.wait(action_id, lambda: self._answer(action_id), self.pause_timeout_s):
                    return
            except WaitCancelledError:
                self.outcome(session_id, action_id, OutcomeStatus.DENIED, error=_CANCELLED)
                raise asyncio.CancelledError from None
            finally:
                self._approvals.done(action_id)
            self._refuse(session_id, action_id, verdict)

    async def enforce_async(self, session_id: str, action_id: str, verdict: LocalVerdict) -> None:
        """As `enforce`; a pause leaves the event loop free."""
        if verdict.grey and verdict.decision in _PASSES:
            if self.hears_verdicts:
                timeout_s = self._guard.policy.settings.verdict_timeout_ms / 1e3
                try:
                    await self._waiting.wait_async(action_id, lambda: self._told(action_id), timeout_s)
                except asyncio.CancelledError:
                    self.outcome(session_id, action_id, OutcomeStatus.DENIED, error=_CANCELLED)
                    raise
            verdict = self._second_opinion(session_id, action_id, verdict)
        if verdict.decision not in _PASSES and self._open(session_id, action_id, verdict):
            try:
                if await self._waiting.wait_async(action_id, lambda: self._answer(action_id), self.pause_timeout_s):
                    return
            except asyncio.CancelledError:
                self.outcome(session_id, action_id, OutcomeStatus.DENIED, error=_CANCELLED)
                raise
            finally:
                self._approvals.done(action_id)
            self._refuse(session_id, action_id, verdict)

    def _open(self, session_id: str, action_id: str, verdict: LocalVerdict) -> bool:
        """Put a stopping decision into effect. True: the action may wait. Raises when it may not."""
        why = "; ".join(verdict.reasons) or verdict.decision
        match verdict.decision:
            case Decision.PAUSE:
                with self._lock:
                    # Paused by the agent's state, which has changed since: nothing is left to wait for.
                    # What a person has to approve waits alone: the agent goes on.
                    if (
                        self._guard.state is AgentState.RUNNING
                        and STATE_RULE not in verdict.rules
                        and not verdict.approval
                    ):
                        self._set_state(AgentState.PAUSED, why)
                    self._waiting.enter(action_id)
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

    def _refuse(self, session_id: str, action_id: str, verdict: LocalVerdict) -> None:
        """The wait is over and the action may not run: say why on record, then raise."""
        reasons = verdict.reasons
        if self._guard.state is AgentState.KILLED:
            why = f"agent `{self.agent_id}` is killed: {self._guard.state_reason}"
            self.outcome(session_id, action_id, OutcomeStatus.DENIED, error=why)
            raise AgentKilledError(why, action_id=action_id, reasons=reasons)
        if self._guard.ruling(action_id) is False:
            self.outcome(session_id, action_id, OutcomeStatus.DENIED, error="denied by an operator")
            raise ActionBlockedError("action denied by an operator", action_id=action_id, reasons=reasons)
        who = "nobody approved it" if verdict.approval else f"agent `{self.agent_id}` stayed paused"
        why = f"{who} for {self.pause_timeout_s:g} s: {'; '.join(reasons)}"
        self.outcome(session_id, action_id, OutcomeStatus.PAUSED, error=why)
        raise AgentPausedError(why, action_id=action_id, reasons=reasons)

    # -- the stream's opinion ----------------------------------------------------------------------------------

    def hear_verdict(self, verdict: Verdict) -> None:
        """The stream judged an action: whoever waits for that goes on."""
        with self._lock:
            if self.opinions.arrive(verdict):
                self._waiting.announce()

    def _told(self, action_id: str) -> bool | None:
        """Whether the wait for a verdict is over; `None` while it is not."""
        if self._guard.state is AgentState.KILLED or self.opinions.has(action_id):
            return True
        return None

    def _second_opinion(self, session_id: str, action_id: str, local: LocalVerdict) -> LocalVerdict:
        """What counts after the wait. Raises when the agent was killed meanwhile."""
        with self._lock:
            verdict = self.opinions.conclude(action_id, local, self._guard.policy.settings)
        if self._guard.state is AgentState.KILLED:
            self._refuse(session_id, action_id, verdict)
        return verdict

    # -- waiting -----------------------------------------------------------------------------------------------

    def _answer(self, action_id: str) -> bool | None:
        """Whether a waiting action may run; `None` while nobody has said."""
        if self._guard.state is AgentState.KILLED:
            return False
        if (ruling := self._guard.ruling(action_id)) is not None:
            return ruling
        if action_id in self._approvals:
            return None
        return True if self._guard.state is AgentState.RUNNING else None

    def _set_state(self, state: AgentState, reason: str) -> None:
        with self._lock:
            if self._guard.state is not AgentState.KILLED:
                self._guard.set_state(state, reason)
            self._waiting.announce()
        self._state_changed()

    def _state_changed(self) -> None:
        """A kill ends what works for the agent, besides denying what it does next."""
        if self._guard.state is AgentState.KILLED:
            end(self.agent_id, self._guard.state_reason or "by an operator")
        else:
            governor.killed.discard(self.agent_id)

    def left(self, error: BaseException | None) -> None:
        """The running thread or task has left the killed agent. What ended it there is said by its own name."""
        uncancel()
        if isinstance(error, asyncio.CancelledError):
            raise AgentKilledError(f"agent `{self.agent_id}` is killed: {self._guard.state_reason}") from error

    # -- orders ------------------------------------------------------------------------------------------------

    def obey(self, command: Command) -> tuple[AckResult, str]:
        """Apply a verified command; returns what to acknowledge."""
        match command.command:
            case CommandType.PAUSE | CommandType.RESUME | CommandType.KILL:
                return self._obey_state(command.command, command.epoch, command.reason)
            case CommandType.APPROVE | CommandType.DENY:
                return self._obey_ruling(command)
            case CommandType.ROLLBACK:
                return self._obey_rollback(command.action_id)
        return AckResult.IGNORED, f"`{command.command}` is not supported by this agent"

    def learn(self, record: StateRecord) -> None:
        """Take over the state found at start; a newer command wins."""
        with self._lock:
            if record.epoch > self._guard.epoch:
                self._guard.epoch = record.epoch
                self._guard.set_state(record.state, record.command.reason)
                self._waiting.announce()
        self._state_changed()

    def _obey_state(self, command: CommandType, epoch: int, reason: str) -> tuple[AckResult, str]:
        with self._lock:
            if not self._guard.command(command, epoch, reason):
                return AckResult.IGNORED, f"epoch {epoch} is not newer than {self._guard.epoch}"
            self._waiting.announce()
        self._state_changed()
        return AckResult.APPLIED, str(self._guard.state)

    def _obey_ruling(self, command: Command) -> tuple[AckResult, str]:
        action_id, allow = command.action_id, command.command is CommandType.APPROVE
        with self._lock:
            waits = action_id in self._waiting.action_ids
            if allow and command.scope and command.scope in set(GrantScope):
                until_s = parse_ts(command.grant_until) if command.grant_until else time.time() + DEFAULT_GRANT_S
                self._approvals.grant(action_id, GrantScope(command.scope), until_s)
            self._guard.rule(action_id, allow=allow)
            self._waiting.announce()
        return (AckResult.APPLIED, "") if waits else (AckResult.IGNORED, "no such action waits here")

    def _obey_rollback(self, action_id: str) -> tuple[AckResult, str]:
        """Reverse the action that the command names and what came after it; without one, the last actions."""
        if self.undo is None:
            return AckResult.FAILED, "this agent keeps no undo log"
        if action_id and not self.trail.knows(action_id):
            # Every replica gets the command: what this one did is none of its business.
            return AckResult.IGNORED, "the action is not among this instance's recent ones"
        steps = self.rollback("", since=action_id)
        counts = {status: sum(s.status == status for s in steps) for status in ("reversed", "conflict", "unsupported")}
        return AckResult.APPLIED, ", ".join(
            f"{n} {status}" for status, n in counts.items() if n
        ) or "nothing to reverse"

    def approve(
        self, action_id: str | None, scope: GrantScope = GrantScope.ONCE, for_s: float = DEFAULT_GRANT_S
    ) -> None:
        """Let one waiting action run, or with `None` all of them and the agent with them.

        `scope`: what else is approved, for the next `for_s` seconds.
        """
        with self._lock:
            if action_id is not None:
                self._approvals.grant(action_id, scope, time.time() + for_s)
                self._guard.rule(action_id, allow=True)
            else:
                for waiting in self._approvals.action_ids:
                    self._guard.rule(waiting, allow=True)
                if self._guard.state is AgentState.PAUSED:
                    self._guard.set_state(AgentState.RUNNING)
            self._waiting.announce()

    def deny(self, action_id: str | None) -> None:
        """Refuse one waiting action, or all that wait now."""
        with self._lock:
            for waiting in [action_id] if action_id is not None else self._waiting.action_ids:
                self._guard.rule(waiting, allow=False)
            self._waiting.announce()

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
        """Record what came of an action. Never raises."""
        try:
            self.emitter.outcome(
                action_id, session_id, time.time(), status, content=content, error=error, duration_ms=duration_ms
            )
            if self.undo is not None and status in _OVER:
                self.undo.after(action_id)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is ours
            self._not_recorded(f"the outcome of action {action_id}", e)
        self.trail.outcome(action_id, status, duration_ms, error)

    def context(self, session_id: str, content: str, source: ContextSource) -> None:
        """Record what the agent was asked. Never raises."""
        try:
            self.emitter.context(new_id(), session_id, time.time(), source, content)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is ours
            self._not_recorded("a context", e)

    def _not_recorded(self, what: str, error: Exception) -> None:
        """A bug of ours is not the host's: counted and logged, and the verdict stands."""
        self.unrecorded += 1
        log.error("agent %r: %s could not be recorded: %s: %s", self.agent_id, what, type(error).__name__, error)

    def rollback(self, session_id: str, limit: int | None = None, *, since: str = "") -> list[StepResult]:
        """Reverse the last actions, newest first; each reversal is on record as an outcome.

        `limit` (default: `rollback_limit`) of them at most; with `since`, none from before that action.
        Compensations run under no governor: undoing is no action of the agent's, a paused or killed one included.
        """
        if self.undo is None:
            return []
        token = governor.activate(None)
        try:
            steps: list[StepResult] = self.undo.rollback(
                limit_actions=self.rollback_limit if limit is None else limit,
                action_ids=self.trail.since(since) if since else None,
            )
        finally:
            governor.deactivate(token)
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


_LIVING: weakref.WeakSet[Agent] = weakref.WeakSet()


def living_agents() -> list[Agent]:
    """The agents of this process whose clients are open."""
    return [agent for agent in list(_LIVING) if not agent.closed]


def _after_fork() -> None:
    for agent in list(_LIVING):
        agent.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
