"""A session of one agent: `with vt.monitor("my-agent") as m:` governs everything that runs inside."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from vaultak import governor
from vaultak.agent import Agent, Judged
from vaultak.approvals import DEFAULT_GRANT_S, GrantScope
from vaultak.audit import AuditEntry
from vaultak.emitter import Span
from vaultak.errors import VaultakError
from vaultak.redact import shown
from vaultak.repeat import MAX_REPEATS, Fixed, Repeat
from vaultak.wire import (
    ActionType,
    AgentState,
    ContextSource,
    Decision,
    Factors,
    OutcomeStatus,
    Verdict,
    uuid7,
)

if TYPE_CHECKING:
    from vaultak.undo import StepResult, UndoLog


class Monitor:
    """Governs the code that runs inside its `with` block, in this thread or task and those they start.

    Implements `vaultak.governor.Governor`. Usable once at a time: entering it twice raises `VaultakError`. Monitors
    of different agents nest; the innermost governs.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        session_id: str | None = None,
        labels: dict[str, str] | None = None,
        intercept: bool = True,
    ) -> None:
        self._agent = agent
        self.session_id = session_id or uuid7()
        self._labels = {str(name): str(value) for name, value in (labels or {}).items()}
        self.intercepted = intercept
        self._token: governor.Activation | None = None
        self._handed: str | None = None
        self._repeats: dict[tuple[ActionType, str, str], Repeat] = {}

    @property
    def agent_id(self) -> str:
        return self._agent.agent_id

    @property
    def labels(self) -> dict[str, str]:
        """A copy: those of a session stay what they were at its begin."""
        return dict(self._labels)

    @property
    def state(self) -> AgentState:
        """Where the agent stands: running, paused or killed."""
        return self._agent.state

    @property
    def undo(self) -> UndoLog | None:
        return self._agent.undo

    # -- the block ---------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._token is not None:
            raise VaultakError(f"the monitor of `{self.agent_id}` is entered already; make another with `vt.monitor`")
        if self._agent.closed:
            raise VaultakError(f"the client of agent `{self.agent_id}` was closed; make another monitor of it")
        if self.intercepted:
            from vaultak.intercept import install

            install()
        outer = governor.current()
        if not isinstance(outer, Monitor) or outer._agent is not self._agent:
            governor.entering(self)
        self._token = governor.activate(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        token, self._token = self._token, None
        if token is not None:
            governor.deactivate(token)
        if self._agent.state is AgentState.KILLED:
            self._agent.left(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    # -- actions -----------------------------------------------------------------------------------------------

    def check(self, action_type: ActionType | str, resource: str, payload: dict[str, Any] | None = None) -> Verdict:
        """Judge an action and put it on record. Never raises and never waits: the caller obeys the decision.

        An action type that is not known is judged, and recorded, as `custom`.
        """
        action_id, ts, verdict = self._judge(action_type, resource, {} if payload is None else payload, "")
        return Verdict(
            action_id=action_id,
            agent_id=self.agent_id,
            session_id=self.session_id,
            ts=ts,
            scored_ts=ts,
            risk=verdict.risk,
            factors=Factors(
                destructiveness=verdict.static.destructiveness,
                sensitivity=verdict.static.sensitivity,
            ),
            decision=verdict.decision,
            rules=verdict.rules,
            reasons=verdict.reasons,
            policy_version=self._agent.policy_version,
        )

    def before(self, action_type: ActionType, resource: str, payload: dict[str, Any], *, assurance: str = "") -> str:
        repeats = type(payload) is Fixed
        if repeats:
            known = self._repeats.get((action_type, resource, assurance))
            if known is not None and known.payload is payload:
                action_id = self._agent.repeat(self.session_id, action_type, resource, known)
                if action_id:
                    return action_id
        action_id, _, verdict = self._judge(action_type, resource, payload, assurance)
        if verdict.decision is not _ALLOW or verdict.grey:
            self._agent.enforce(self.session_id, action_id, verdict)
        elif repeats:
            self._remember(action_type, resource, cast(Fixed, payload), assurance)
        return action_id

    def traced(
        self, action_type: ActionType, resource: str, payload: dict[str, Any], span: Span, *, enforce: bool
    ) -> Judged:
        """As `check`, or with `enforce` as `before`, of an action that a span stands for. May raise a denial."""
        judged = self._agent.judge(
            self.session_id, action_type, resource, payload, labels=self._labels, assurance="framework", span=span
        )
        if enforce and (judged.verdict.decision is not _ALLOW or judged.verdict.grey):
            self._agent.enforce(self.session_id, judged.action_id, judged.verdict)
        return judged

    def _remember(self, action_type: ActionType, resource: str, payload: Fixed, assurance: str) -> None:
        known = self._agent.repeatable(self.session_id, action_type, resource, payload, self._labels, assurance)
        if known is not None and len(resource) <= _REMEMBERED_CHARS and resource.isascii():
            if len(self._repeats) >= MAX_REPEATS:
                self._repeats.clear()
            self._repeats[action_type, resource, assurance] = known

    async def before_async(
        self, action_type: ActionType, resource: str, payload: dict[str, Any], *, assurance: str = ""
    ) -> str:
        action_id, _, verdict = self._judge(action_type, resource, payload, assurance)
        if verdict.decision is not Decision.ALLOW or verdict.grey:
            await self._agent.enforce_async(self.session_id, action_id, verdict)
        return action_id

    def hand_down(self) -> str:
        """What a child process needs to go on as this agent, for `VAULTAK_INHERIT`; empty where it cannot."""
        if self._handed is None:
            make = self._agent.hand_down
            self._handed = make(self.session_id, self._labels) if make is not None else ""
        return self._handed

    def forbids(self, action_type: ActionType, resource: str, also: Sequence[str] = ()) -> bool:
        """Whether the limits, or the agent's state, stand against an action. Puts nothing on record."""
        return self._agent.forbids(action_type, resource, also)

    def refuse(self, action_type: ActionType, resource: str, payload: dict[str, Any], why: str) -> None:
        """Record an action that may not run for a reason of the SDK's own. Raises `ActionBlockedError`."""
        self._agent.refuse(self.session_id, action_type, resource, payload, why, labels=self._labels, assurance="patch")

    def after(
        self,
        action_id: str,
        status: OutcomeStatus,
        *,
        content: str = "",
        error: str = "",
        duration_ms: float | None = None,
    ) -> None:
        self._agent.outcome(self.session_id, action_id, status, content=content, error=error, duration_ms=duration_ms)

    def context(self, content: str, source: ContextSource | str = ContextSource.USER) -> None:
        """Record what the agent was asked: trusted text, against which its arguments are traced."""
        self._agent.context(self.session_id, content, ContextSource(source))

    def _judge(self, action_type: ActionType | str, resource: object, payload: object, assurance: str) -> Judged:
        # What a caller hands in is not always what the signature says; a wrong type is judged by what it shows.
        if type(action_type) is not ActionType:
            action_type = _known_type(action_type)
        if type(resource) is not str:
            resource = str.__str__(resource) if isinstance(resource, str) else shown(resource)
        if not resource.isascii():
            resource = resource.encode("utf-8", "replace").decode()
        if not isinstance(payload, dict):
            payload = {"value": payload}
        return self._agent.judge(
            self.session_id, action_type, resource, payload, labels=self._labels, assurance=assurance
        )

    # -- operating it from inside the program ------------------------------------------------------------------

    def approve(
        self,
        action_id: str | None = None,
        *,
        scope: GrantScope | str = GrantScope.ONCE,
        for_s: float = DEFAULT_GRANT_S,
    ) -> None:
        """Let one waiting action run; with no id, all of them, and the agent with them.

        What a rule wants approved can be approved for more than once: `scope` `session` for the same action with the
        same arguments, `pattern` for the same resource with any, for `for_s` seconds.
        """
        self._agent.approve(action_id, GrantScope(scope), for_s)

    def deny(self, action_id: str | None = None) -> None:
        """Refuse one waiting action, or all that wait: they raise `ActionBlockedError`."""
        self._agent.deny(action_id)

    def rollback(self, limit: int | None = None) -> list[StepResult]:
        """Reverse the last `limit` actions (default: `rollback_limit`), newest first."""
        return self._agent.rollback(self.session_id, limit)

    def audit_trail(self) -> list[AuditEntry]:
        """This session's recent actions, oldest first, with what came of them."""
        return self._agent.trail.entries(self.session_id)


_ALLOW = Decision.ALLOW
_REMEMBERED_CHARS = 1024


def _known_type(action_type: ActionType | str) -> ActionType:
    try:
        return ActionType(action_type)
    except ValueError:
        return ActionType.CUSTOM
