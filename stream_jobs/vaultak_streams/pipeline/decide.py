"""From a risk and a policy to a decision, with the rules and reasons that led there."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UnsetType

from vaultak.policy import CompiledPolicy, PolicySettings, further_resources
from vaultak.policy.fields import Subject
from vaultak.policy.rules import CompiledRules, Occasion
from vaultak.policy.rules.evaluate import NOTHING, RuleVerdict
from vaultak.wire import Action, Decision, Local
from vaultak_streams.pipeline.engine import Assessment
from vaultak_streams.pipeline.sessions import SessionTraits

Choose = Callable[[Mapping[str, str]], CompiledRules | None]


def _none(_labels: Mapping[str, str]) -> None:
    return None


class Ruling(NamedTuple):
    """A decision and why: ids of the rules that matched, and the same for people."""

    decision: Decision
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    policy_version: str
    held: bool = False
    """A person is asked about this action alone, and the SDK that met it holds it."""
    ruled: RuleVerdict = NOTHING
    """What the policy's rules alone say."""


class Rules:
    """A policy, ready to decide. The same action, risk and past always get the same ruling.

    The evaluation is the SDK's own, so that an agent and the stream read a policy alike; only risk and factors are
    the stream's.
    """

    def __init__(self, policy: PolicySettings) -> None:
        self._own = CompiledPolicy(policy)
        self._choose: Choose = _none
        self._known: dict[int, CompiledPolicy] = {}

    @property
    def version(self) -> str:
        """Of the policy for agents without labels."""
        return self._for({}).version

    @property
    def settings(self) -> PolicySettings:
        """The policy's own."""
        return self._own.settings

    def choosing(self, choose: Choose) -> Rules:
        """The same limits, with rules chosen by the labels of an action's agent; `None` for the policy's own."""
        other = copy.copy(self)
        other._choose, other._known = choose, {}
        return other

    def _for(self, labels: Mapping[str, str]) -> CompiledPolicy:
        rules = self._choose(labels)
        if rules is None:
            return self._own
        policy = self._known.get(id(rules))
        if policy is None:
            policy = self._known[id(rules)] = self._own.with_rules(rules)
        return policy

    def decide(
        self,
        action: Action,
        assessment: Assessment,
        actions_per_minute: float,
        session: SessionTraits,
        occasion: Occasion,
    ) -> Ruling:
        """The most severe of what limits, rules, risk and rate each call for. Session and occasion take the action in.

        The assessment's risk is in 0..1; `ValueError` otherwise: an engine that answers NaN or 7 has not judged.
        """
        risk = assessment.risk
        if not 0.0 <= risk <= 1.0:
            raise ValueError(f"risk {risk} is not in 0..1")
        recent = math.floor(actions_per_minute)
        also = further_resources(action.payload)
        policy = self._for(action.labels)
        verdict = policy.evaluate(
            action.action_type,
            action.resource,
            recent,
            also=also,
            risk=risk,
            subject=Subject(action.agent_id, action.session_id, action.labels),
            payload=action.payload,
            more={} if policy.rules is None else _known(action, assessment, recent, session),
            occasion=occasion,
        )
        session.note(action.action_type, verdict.static.destructiveness, verdict.static.sensitivity)
        held = verdict.approval and _local(action).decision == Decision.PAUSE
        return Ruling(verdict.decision, verdict.rules, verdict.reasons, policy.version, held, verdict.ruled)


def _local(action: Action) -> Local:
    return Local("") if isinstance(action.local, UnsetType) else action.local


def _known(action: Action, assessment: Assessment, recent: int, session: SessionTraits) -> dict[str, Any]:
    """What rules can ask for beside the action itself: the factors, and what is known of its agent."""
    local = _local(action)
    factors = msgspec.structs.asdict(assessment.factors)
    history: dict[str, Any] = {"actions_per_minute": recent, "events": assessment.baseline_events}
    if assessment.resource_count is not None:
        history["resource_count"] = assessment.resource_count
    return {
        "factors": {name: value for name, value in factors.items() if value is not None},
        "assurance": action.assurance,
        "local": {"decision": local.decision, "risk": local.risk},
        "session": session.fields(),
        "history": history,
    }
