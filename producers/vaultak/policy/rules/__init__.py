"""Rules as code: a tree that travels as JSON, and closures that judge by it."""

from vaultak.policy.rules.evaluate import CompiledRules, RuleVerdict, decode_bundle, load_bundle
from vaultak.policy.rules.tally import Occasion, Tally
from vaultak.policy.rules.tree import (
    And,
    Bundle,
    Day,
    Enforce,
    Mode,
    Not,
    OnError,
    Operator,
    Or,
    Rate,
    Rule,
    Scope,
    Test,
    Window,
)

__all__ = [
    "And",
    "Bundle",
    "CompiledRules",
    "Day",
    "Enforce",
    "Mode",
    "Not",
    "Occasion",
    "OnError",
    "Operator",
    "Or",
    "Rate",
    "Rule",
    "RuleVerdict",
    "Scope",
    "Tally",
    "Test",
    "Window",
    "decode_bundle",
    "load_bundle",
]
