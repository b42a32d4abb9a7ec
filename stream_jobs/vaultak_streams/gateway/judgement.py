"""What is known of one action that was sent: what was decided here, what the pipeline said, what an operator did."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from vaultak.policy.evaluate import LocalVerdict
from vaultak.wire import SEVERITY, Decision, Verdict
from vaultak_streams.gateway.messages import Answer


class Judgement:
    """One action's. Lives on the event loop's thread."""

    def __init__(
        self,
        agent_id: str,
        action_id: str,
        local: LocalVerdict,
        policy_version: str,
        when_held: Callable[[Judgement], object] = lambda _judgement: None,
    ) -> None:
        """`when_held` is called whenever it begins to wait for an operator."""
        self.agent_id, self.action_id = agent_id, action_id
        self.local, self.policy_version = local, policy_version
        self.verdict: Verdict | None = None
        self.ruling: Decision | None = None
        """What an operator made of it; counts above all else."""
        self._changed: asyncio.Event | None = None
        self._when_held = when_held
        if self.held:
            when_held(self)

    @property
    def decision(self) -> Decision:
        """As it stands now."""
        if self.ruling is not None:
            return self.ruling
        if self.verdict is not None and SEVERITY[self.verdict.decision] > SEVERITY[self.local.decision]:
            return self.verdict.decision
        return self.local.decision

    @property
    def held(self) -> bool:
        """Somebody may still let it run."""
        return self.decision is Decision.PAUSE

    @property
    def settled(self) -> bool:
        """Waiting longer would change nothing: it is refused, ruled on, or the pipeline let it pass."""
        if self.held:
            return False
        return self.ruling is not None or self.verdict is not None or SEVERITY[self.decision] > SEVERITY[Decision.PAUSE]

    def judged(self, verdict: Verdict) -> None:
        """The pipeline's verdict came. The first one counts."""
        if self.verdict is None:
            before, self.verdict = self.held, verdict
            if self.held and not before:
                self._when_held(self)
            self._announce()

    def rule(self, decision: Decision) -> None:
        """An operator decided."""
        self.ruling = decision
        self._announce()

    async def wait(self, until_s: float) -> None:
        """Until it is settled, or the loop's clock shows `until_s`."""
        if self._changed is None:
            self._changed = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                while not self.settled:
                    self._changed.clear()
                    await self._changed.wait()

    def _announce(self) -> None:
        if self._changed is not None:
            self._changed.set()

    def answer(self, *, duplicate: bool = False) -> Answer:
        """What the client has to do, as it stands now."""
        verdict, decision = self.verdict, self.decision
        said = verdict if verdict is not None and verdict.decision is decision else self.local
        judged_by = "operator" if self.ruling is not None else "gateway" if said is self.local else "pipeline"
        reasons = ("by an operator", *said.reasons) if self.ruling is not None else said.reasons
        return Answer(
            action_id=self.action_id,
            decision=decision,
            risk=max(self.local.risk, verdict.risk if verdict else 0.0),
            reasons=reasons,
            rules=said.rules,
            policy_version=self.policy_version,
            judged_by=judged_by,
            duplicate=duplicate,
            verdict=verdict if verdict is not None else msgspec.UNSET,
        )
