"""Where one agent stands, and what that means for its next action. Pure: time is passed in."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Any

from vaultak.policy.evaluate import RATE_WINDOW_S, CompiledPolicy, LocalVerdict
from vaultak.policy.fields import NO_PAYLOAD, NOBODY, Subject
from vaultak.policy.rules import Occasion, Tally
from vaultak.wire import ActionType, AgentState, CommandType, Decision

_REMEMBERED_RULINGS = 4096

STATE_RULE = "state"
"""The rule that matched when the agent was paused or killed already."""

_STATE = {
    CommandType.PAUSE: AgentState.PAUSED,
    CommandType.RESUME: AgentState.RUNNING,
    CommandType.KILL: AgentState.KILLED,
}


class Guard:
    """State, rate and rulings of one agent. Not thread-safe: its owner holds a lock."""

    def __init__(self, policy: CompiledPolicy) -> None:
        self.policy = policy
        self.state = AgentState.RUNNING
        self.state_reason = ""
        self.epoch = 0
        self._recent: deque[float] = deque()
        self._rulings: OrderedDict[str, bool] = OrderedDict()
        self.tally = Tally()
        """How often rules with a `rate` were met. A policy that is swapped in counts on."""
        self._last_s = 0.0
        self._elapsed_us = 0

    def judge(
        self,
        action_type: ActionType,
        resource: str,
        now_s: float,
        also: Sequence[str] = (),
        subject: Subject = NOBODY,
        payload: Mapping[str, Any] = NO_PAYLOAD,
    ) -> LocalVerdict:
        """Count the action and decide on it; the agent's state comes before any policy.

        `also`: further resources that it reaches, see `CompiledPolicy.evaluate`.
        """
        recent = self._count(now_s)
        policy = self.policy
        verdict = policy.evaluate(
            action_type,
            resource,
            recent,
            also=also,
            subject=subject,
            payload=payload,
            occasion=self._occasion(policy, now_s),
        )
        if self.state is AgentState.RUNNING:
            return verdict
        decision = Decision.KILL if self.state is AgentState.KILLED else Decision.PAUSE
        why = f"the agent is {self.state}" + (f": {self.state_reason}" if self.state_reason else "")
        if decision is Decision.PAUSE and verdict.decision in (Decision.BLOCK, Decision.ROLLBACK, Decision.KILL):
            return verdict
        return LocalVerdict(
            decision, verdict.risk, verdict.static, (why, *verdict.reasons), (STATE_RULE, *verdict.rules)
        )

    def _occasion(self, policy: CompiledPolicy, now_s: float) -> Occasion | None:
        """Counted by the time that has passed: a clock that is set back neither forgets nor holds on to anything."""
        if policy.rules is None or policy.rules.is_pure:
            return None
        self._elapsed_us += max(0, round((now_s - self._last_s) * 1_000_000))
        self._last_s = now_s
        return Occasion(now_s, self.tally, at_us=self._elapsed_us)

    def _count(self, now_s: float) -> int:
        limit = self.policy.settings.max_actions_per_minute
        if limit is None:
            return 0
        recent = self._recent
        while recent and recent[0] <= now_s - RATE_WINDOW_S:
            recent.popleft()
        recent.append(now_s)
        if len(recent) > limit + 1:  # one over the limit is all there is to know
            recent.popleft()
        return len(recent)

    def command(self, command: CommandType, epoch: int, reason: str = "") -> bool:
        """Apply a state command; False when a newer one has been applied already."""
        if epoch <= self.epoch:
            return False
        self.epoch = epoch
        self.set_state(_STATE[command], reason)
        return True

    def set_state(self, state: AgentState, reason: str = "") -> None:
        """What the agent's own side decides (a local pause or kill); epochs order remote commands only."""
        self.state = state
        self.state_reason = reason
        if state is AgentState.RUNNING:
            self._recent.clear()
            self.tally.clear()

    def rule(self, action_id: str, *, allow: bool) -> None:
        """An operator's ruling on one action."""
        self._rulings[action_id] = allow
        while len(self._rulings) > _REMEMBERED_RULINGS:
            self._rulings.popitem(last=False)

    def ruling(self, action_id: str) -> bool | None:
        return self._rulings.get(action_id)
