"""Rules that match at certain times only, or from a certain number of times on."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UnsetType

from vaultak.policy.rules.conditions import ConditionError, Fields, Predicate
from vaultak.policy.rules.tally import Occasion, compile_key
from vaultak.policy.rules.tree import Rule
from vaultak.policy.rules.windows import compile_windows

Timed = Callable[[Fields, Occasion | None], bool]


def compile_timing(rule: Rule, condition: Predicate) -> Timed | None:
    """The rule with its `active` and `rate` around `condition`; `None` where it has neither.

    Outside its hours a rule is not looked at: it counts nothing and nothing about it can fail. Raises `PolicyError`
    for hours that cannot be. The function raises `ConditionError` where the occasion is not known.
    """
    timed: Timed | None = None
    if not isinstance(rule.rate, UnsetType):
        timed = _rated(rule, condition)
    if not isinstance(rule.active, UnsetType):
        timed = _active(rule, timed or (lambda fields, _occasion: condition(fields)))
    return timed


def _rated(rule: Rule, condition: Predicate) -> Timed:
    rate, name = rule.rate, rule.id
    assert not isinstance(rate, UnsetType)
    key = compile_key(rate)

    def often(fields: Fields, occasion: Occasion | None) -> bool:
        return condition(fields) and _known(occasion, "rate").exceeds(name, rate, key(fields))

    return often


def _active(rule: Rule, inner: Timed) -> Timed:
    assert not isinstance(rule.active, UnsetType)
    within = compile_windows(rule.active)

    def awake(fields: Fields, occasion: Occasion | None) -> bool:
        now_s = _known(occasion, "active").now_s
        if now_s is None:
            raise ConditionError("`active` asks for the time of day, and it is not known")
        return within(now_s) and inner(fields, occasion)

    return awake


def _known(occasion: Occasion | None, key: str) -> Occasion:
    if occasion is None:
        raise ConditionError(f"`{key}` asks for the occasion, and it is not known")
    return occasion
