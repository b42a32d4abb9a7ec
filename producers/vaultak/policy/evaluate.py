"""The verdict of a policy on one action: its limits and its rules. Pure; a few microseconds."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from vaultak.policy.fields import NO_PAYLOAD, NOBODY, Subject, fields_of
from vaultak.policy.resources import ResourceMatcher
from vaultak.policy.rules.evaluate import NOTHING, CompiledRules, RuleVerdict, most_severe
from vaultak.policy.rules.tally import Occasion
from vaultak.policy.settings import KillSwitchMode, PolicySettings
from vaultak.policy.static_risk import DEFAULT_MODEL, StaticRisk, StaticRiskModel
from vaultak.wire import SEVERITY, ActionType, Decision

RATE_WINDOW_S = 60.0


MAX_FURTHER_RESOURCES = 1024
"""Of one action: what a payload names beyond them is not looked at."""


def further_resources(payload: dict[str, Any]) -> Sequence[str]:
    """What an action reaches beside its resource: `payload["resources"]`, as interceptors fill it in."""
    named = dict.get(payload, "resources")
    if not isinstance(named, list | tuple):
        return ()
    return [text for text in named[:MAX_FURTHER_RESOURCES] if isinstance(text, str)]


class LocalVerdict(msgspec.Struct, frozen=True, gc=False):
    """A decision with the rules that led to it, in words and by id. `risk` is in 0..1."""

    decision: Decision
    risk: float
    static: StaticRisk
    reasons: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    approval: bool = False
    """A pause of this action alone, which a person may lift."""
    ruled: RuleVerdict = NOTHING
    """What the rules alone say."""
    grey: bool = False
    """Whether the action, should it pass, waits for the stream's verdict."""


class CompiledPolicy:
    """A `PolicySettings` made ready for evaluation. Immutable; share it between agents and threads."""

    def __init__(self, settings: PolicySettings, model: StaticRiskModel | None = None) -> None:
        self.settings = settings
        self.version = settings.version
        if model is None:
            model = DEFAULT_MODEL if settings.risk is None else StaticRiskModel(settings.risk.tables())
        self._model = model
        self._blocked = ResourceMatcher(settings.blocked_resources)
        self._allowed = None if settings.allowed_resources is None else ResourceMatcher(settings.allowed_resources)
        self._types = None if settings.allowed_action_types is None else frozenset(settings.allowed_action_types)
        self._limit_decision = _LIMIT_DECISION[settings.mode]
        self.rules = None if settings.rules is None else CompiledRules(settings.rules)

    def with_rules(self, rules: CompiledRules) -> CompiledPolicy:
        """The same limits with these rules instead of its own."""
        other = copy.copy(self)
        other.settings = msgspec.structs.replace(self.settings, rules=rules.bundle)
        other.version = other.settings.version
        other.rules = rules
        return other

    @property
    def is_pure(self) -> bool:
        """Whether a verdict depends on nothing but the action itself."""
        return self.settings.max_actions_per_minute is None and (self.rules is None or self.rules.is_pure)

    def evaluate(
        self,
        action_type: ActionType,
        resource: str,
        recent_actions: int = 0,
        *,
        also: Sequence[str] = (),
        risk: float | None = None,
        subject: Subject = NOBODY,
        payload: Mapping[str, Any] = NO_PAYLOAD,
        more: Mapping[str, Any] = NO_PAYLOAD,
        occasion: Occasion | None = None,
    ) -> LocalVerdict:
        """Judge one action. `recent_actions`: how many came in the last minute, this one included.

        `also` are further resources that it reaches (files in a child's arguments, the address behind a host name):
        any of them may be blocked, none needs to be allowed. `risk` replaces the static risk where a better one is
        known (the stream job's). Rules see `subject`, `payload` and what else is known by name (`more`); those with
        a `rate` or `active` go by `occasion`, and it counts the action for them.

        Limits and rules are judged apart and the more severe decision wins: no rule lifts a limit.
        """
        verdict = self._limits(action_type, resource, recent_actions, also, risk)
        if self.rules is None:
            return verdict
        known = {
            "risk": verdict.risk,
            "factors": {
                "destructiveness": verdict.static.destructiveness,
                "sensitivity": verdict.static.sensitivity,
            },
            **more,
        }
        fields = fields_of(subject, action_type, resource, payload, known)
        ruled = self.rules.evaluate(fields, occasion)
        # Each resource apart: an exception made for one of them excuses no other.
        for reached in also:
            ruled = most_severe(ruled, self.rules.evaluate({**fields, "resource": reached}, occasion))
        return verdict if ruled is NOTHING else combine(verdict, ruled)

    def _limits(
        self, action_type: ActionType, resource: str, recent_actions: int, also: Sequence[str], risk: float | None
    ) -> LocalVerdict:
        static = self._model.assess(action_type, resource)
        risk = static.risk if risk is None else risk
        found: list[tuple[Decision, str, str]] = []
        for reached in (resource, *also) if also else (resource,):
            if (pattern := self._blocked.match(reached)) is not None:
                found.append((self._limit_decision, "blocked_resources", f"`{reached}` matches blocked `{pattern}`"))
                break
        if self._allowed is not None and not self._allowed.match_every_form(resource):
            found.append(
                (self._limit_decision, "allowed_resources", f"`{resource}` is not among the allowed resources")
            )
        if self._types is not None and action_type not in self._types:
            found.append(
                (self._limit_decision, "allowed_action_types", f"`{action_type}` is not an allowed action type")
            )
        s = self.settings
        if s.max_actions_per_minute is not None and recent_actions > s.max_actions_per_minute:
            text = f"{recent_actions} actions within a minute, at most {s.max_actions_per_minute} are allowed"
            found.append((s.mode.decision, "max_actions_per_minute", text))
        if risk >= s.max_risk_score:
            found.append(
                (s.mode.decision, "max_risk_score", f"risk {risk:.2f} reaches `max_risk_score` {s.max_risk_score:g}")
            )
        elif risk >= s.alert_risk_score:
            found.append(
                (
                    Decision.ALERT,
                    "alert_risk_score",
                    f"risk {risk:.2f} reaches `alert_risk_score` {s.alert_risk_score:g}",
                )
            )
        grey = s.verdict_from_risk is not None and risk >= s.verdict_from_risk
        if not found:
            return LocalVerdict(Decision.ALLOW, risk, static, grey=grey)
        return LocalVerdict(
            max((decision for decision, _, _ in found), key=SEVERITY.__getitem__),
            risk,
            static,
            tuple(reason for _, _, reason in found),
            tuple(rule for _, rule, _ in found),
            grey=grey,
        )


def combine(limits: LocalVerdict, ruled: RuleVerdict) -> LocalVerdict:
    """The more severe of both; whatever matched is named, shadow rules only in words."""
    decision = max(limits.decision, ruled.decision, key=SEVERITY.__getitem__)
    return LocalVerdict(
        decision,
        limits.risk,
        limits.static,
        (
            *limits.reasons,
            *(f"rule `{rule}`: {title}" for rule, title in zip(ruled.rules, ruled.reasons, strict=True)),
            *ruled.errors,
            *(f"shadow rule `{rule}` matches" for rule in ruled.shadow),
        ),
        (*limits.rules, *ruled.rules),
        approval=ruled.approval and SEVERITY[limits.decision] < SEVERITY[Decision.PAUSE],
        ruled=ruled,
        grey=limits.grey,
    )


_LIMIT_DECISION = {
    KillSwitchMode.ALERT: Decision.ALERT,
    KillSwitchMode.PAUSE: Decision.BLOCK,  # what is forbidden outright will not become allowed by waiting
    KillSwitchMode.BLOCK: Decision.BLOCK,
    KillSwitchMode.ROLLBACK: Decision.ROLLBACK,
    KillSwitchMode.KILL: Decision.KILL,
}
