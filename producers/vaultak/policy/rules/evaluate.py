"""Rules made ready: a verdict on one action from its fields, and from when it takes place. Deterministic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from vaultak.errors import PolicyError
from vaultak.policy.rules.conditions import Fields, Predicate, compile_condition
from vaultak.policy.rules.index import RuleIndex
from vaultak.policy.rules.tally import Occasion
from vaultak.policy.rules.timing import Timed, compile_timing
from vaultak.policy.rules.tree import (
    BUNDLE_FORMAT,
    MAX_BUNDLE_BYTES,
    MAX_RATED_RULES,
    Bundle,
    Enforce,
    Mode,
    OnError,
    Rate,
    Rule,
    Scope,
)
from vaultak.wire import SEVERITY, Decision


class RuleVerdict(msgspec.Struct, frozen=True):
    """The decision, and what led to it. `rules` and `shadow` hold ids of matching rules, `failed` ids of
    rules that could not be evaluated and `errors` one line for each.

    `approval`: the decision is a pause that a person may lift. `overridden`: an `allow` with `override` stands above
    whatever else matched; a rule that could not be evaluated is never overridden.
    """

    decision: Decision = Decision.ALLOW
    rules: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()
    approval: bool = False
    overridden: bool = False


NOTHING = RuleVerdict()
RESERVED_IDS = frozenset(
    {
        "allowed_action_types", "allowed_resources", "alert_risk_score", "blocked_resources", "max_actions_per_minute",
        "max_risk_score", "state",
    }
)  # fmt: skip
"""What the limits are called among the rules of a verdict."""
ON_ERROR = {OnError.DENY: Decision.BLOCK, OnError.ALLOW: Decision.ALERT}


class CompiledRules:
    """A `Bundle` made ready for evaluation. Immutable; share it between agents and threads."""

    def __init__(self, bundle: Bundle) -> None:
        if bundle.format != BUNDLE_FORMAT:
            raise PolicyError(f"bundle has format {bundle.format}, this version reads {BUNDLE_FORMAT}")
        self.bundle = bundle
        self.version = bundle.version
        self.rules = bundle.rules
        ids = {rule.id for rule in bundle.rules}
        if len(ids) != len(bundle.rules):
            raise PolicyError("bundle has two rules with the same id")
        if reserved := ids & RESERVED_IDS:
            raise PolicyError(f"rule `{min(reserved)}` has the name of a limit; give it another id")
        if sum(isinstance(rule.rate, Rate) for rule in bundle.rules) > MAX_RATED_RULES:
            raise PolicyError(f"bundle has more than {MAX_RATED_RULES} rules with a `rate`")
        compiled = tuple(map(_compile_rule, bundle.rules))
        self._conditions = tuple(condition for condition, _ in compiled)
        self._timings = tuple(timed for _, timed in compiled)
        self.is_pure = all(timed is None for timed in self._timings)
        """Whether a verdict depends on nothing but the fields: no rule has a `rate` or `active`."""
        self._verdicts: dict[str, RuleVerdict] = {}
        self._index = RuleIndex([rule.condition for rule in bundle.rules])

    def evaluate(self, fields: Fields, occasion: Occasion | None = None) -> RuleVerdict:
        """Judge one action by its fields (`action_type`, `resource`, `payload`, `risk` ...). Never raises.

        `occasion` is what rules with a `rate` or `active` are judged by, and counts the action for the former;
        without it they cannot be evaluated.

        The most severe matching rule wins, unless an `allow` with `override` matches. A rule whose condition cannot
        be evaluated asks for a block, or for an alert where it says `on_error: allow`: never for nothing.
        """
        matched: list[Rule] = []
        failed: list[tuple[Rule, str]] = []
        for position in self._index.candidates(fields):
            rule = self.rules[position]
            timed = self._timings[position]
            try:
                if self._conditions[position](fields) if timed is None else timed(fields, occasion):
                    matched.append(rule)
            except Exception as e:  # noqa: BLE001 - whatever it is, the rule has not been evaluated
                failed.append((rule, f"rule `{rule.id}`: {e}"))
        if failed or len(matched) > 1:
            return _verdict(matched, failed)
        return self._alone(matched[0]) if matched else NOTHING

    def _alone(self, rule: Rule) -> RuleVerdict:
        """The verdict where one rule matches and nothing else: nearly every one that is not `NOTHING`."""
        known = self._verdicts.get(rule.id)
        if known is None:
            known = self._verdicts[rule.id] = _verdict([rule], [])
        return known


def _compile_rule(rule: Rule) -> tuple[Predicate, Timed | None]:
    try:
        condition = _scoped(rule, compile_condition(rule.condition))
        return condition, compile_timing(rule, condition)
    except PolicyError as e:
        raise PolicyError(f"rule `{rule.id}`: {e}") from None


def _scoped(rule: Rule, condition: Predicate) -> Predicate:
    if rule.scope == Scope():
        return condition
    return lambda fields: in_scope(rule.scope, fields) and condition(fields)


def in_scope(scope: Scope, fields: Fields) -> bool:
    """Whether the rule is for this agent. A role or label that is not known is not in a scope that names one."""
    if scope.agents and fields.get("agent_id") not in scope.agents:
        return False
    if scope.roles and fields.get("role") not in scope.roles:
        return False
    labels = fields.get("labels")
    labels = labels if isinstance(labels, Mapping) else {}
    return all(labels.get(name) == value for name, value in scope.labels.items())


def _verdict(matched: list[Rule], failed: list[tuple[Rule, str]]) -> RuleVerdict:
    enforced = [rule for rule in matched if rule.mode is Mode.ENFORCE]
    overridden = any(rule.override and rule.enforce is Enforce.ALLOW for rule in enforced)
    asked = [Decision.ALLOW] if overridden else [rule.enforce.decision for rule in enforced]
    asked += [ON_ERROR[rule.on_error] for rule, _ in failed if rule.mode is Mode.ENFORCE]
    decision = max(asked, key=SEVERITY.__getitem__, default=Decision.ALLOW)
    return RuleVerdict(
        decision=decision,
        rules=tuple(rule.id for rule in enforced),
        reasons=tuple(rule.title for rule in enforced),
        errors=tuple(line for _, line in failed),
        failed=tuple(rule.id for rule, _ in failed),
        shadow=tuple(rule.id for rule in matched if rule.mode is Mode.SHADOW),
        approval=not overridden
        and decision is Decision.PAUSE
        and all(r.enforce is Enforce.REQUIRE_APPROVAL for r in enforced if r.enforce.decision is Decision.PAUSE),
        overridden=overridden,
    )


def most_severe(one: RuleVerdict, other: RuleVerdict) -> RuleVerdict:
    """What two verdicts on the same action come to, each on another of its resources."""
    if one is NOTHING or other is NOTHING or one == other:
        return other if one is NOTHING else one
    first, second = sorted((one, other), key=lambda verdict: -SEVERITY[verdict.decision])
    tied = first.decision is second.decision
    named = dict(zip(first.rules, first.reasons, strict=True)) | dict(zip(second.rules, second.reasons, strict=True))
    return RuleVerdict(
        decision=first.decision,
        rules=tuple(named),
        reasons=tuple(named.values()),
        errors=tuple(dict.fromkeys(first.errors + second.errors)),
        failed=tuple(dict.fromkeys(first.failed + second.failed)),
        shadow=tuple(dict.fromkeys(first.shadow + second.shadow)),
        approval=first.approval and (second.approval or not tied),
        overridden=first.overridden and second.overridden,
    )


def decode_bundle(text: bytes) -> Bundle:
    """A bundle from its JSON. Raises `PolicyError` when it is too large, too deep or not one."""
    if len(text) > MAX_BUNDLE_BYTES:
        raise PolicyError(f"bundle is larger than {MAX_BUNDLE_BYTES} bytes")
    try:
        return msgspec.json.decode(text, type=Bundle)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise PolicyError(f"not a policy bundle: {e}") from None


def load_bundle(path: Path) -> Bundle:
    """A bundle from a file. Raises `PolicyError` naming it."""
    try:
        with path.open("rb") as file:
            return decode_bundle(file.read(MAX_BUNDLE_BYTES + 1))
    except OSError as e:
        raise PolicyError(f"cannot read bundle `{path}`: {e}") from None
    except PolicyError as e:
        raise PolicyError(f"bundle `{path}`: {e}") from None
