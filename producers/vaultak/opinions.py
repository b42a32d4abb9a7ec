"""Second opinions: actions that wait for what the stream says of them. Its owner holds a lock."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from vaultak.policy.evaluate import LocalVerdict
from vaultak.policy.settings import MissingVerdict, PolicySettings
from vaultak.wire import SEVERITY, Decision, Verdict

MAX_EXPECTED = 1024
"""Beyond them the oldest is treated as one whose verdict does not come."""
RULE = "verdict_timeout_ms"


class Opinions:
    """The actions of one agent whose verdicts are expected, and those that came."""

    def __init__(self) -> None:
        self._expected: OrderedDict[str, Verdict | None] = OrderedDict()
        self.missing = 0
        """Verdicts that did not come in time."""

    def expect(self, action_id: str) -> None:
        self._expected[action_id] = None
        while len(self._expected) > MAX_EXPECTED:
            self._expected.popitem(last=False)

    def arrive(self, verdict: Verdict) -> bool:
        """Whether somebody expects it."""
        if verdict.action_id not in self._expected:
            return False
        self._expected[verdict.action_id] = verdict
        return True

    def has(self, action_id: str) -> bool:
        """Whether there is nothing left to wait for."""
        return action_id not in self._expected or self._expected[action_id] is not None

    def conclude(self, action_id: str, local: LocalVerdict, settings: PolicySettings) -> LocalVerdict:
        """The wait is over: the local verdict, or a more severe one. The stream lifts nothing."""
        verdict = self._expected.pop(action_id, None)
        if verdict is None:
            self.missing += 1
            if settings.missing_verdict is MissingVerdict.ALLOW:
                return local
            why = f"no verdict of the stream within {settings.verdict_timeout_ms} ms, and risk {local.risk:.2f}"
            return _stricter(local, Decision.BLOCK, local.risk, (why,), (RULE,))
        decision, reasons, rules = verdict.decision, verdict.reasons, verdict.rules
        own = settings.mode.decision
        if verdict.risk >= settings.max_risk_score and SEVERITY[own] > SEVERITY[decision]:
            text = f"risk {verdict.risk:.2f} reaches `max_risk_score` {settings.max_risk_score:g}"
            decision, reasons, rules = own, (text,), ("max_risk_score",)
        return _stricter(local, decision, verdict.risk, reasons, rules)


def _stricter(
    local: LocalVerdict, decision: Decision, risk: float, reasons: tuple[str, ...], rules: tuple[str, ...]
) -> LocalVerdict:
    if SEVERITY[decision] <= SEVERITY[local.decision]:
        return local
    return msgspec.structs.replace(
        local, decision=decision, risk=risk, reasons=(*local.reasons, *reasons), rules=(*local.rules, *rules)
    )
