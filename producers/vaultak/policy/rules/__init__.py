"""Rules as code: a tree that travels as JSON, and closures that judge by it."""

from vaultak.policy.rules.evaluate import CompiledRules, RuleVerdict, decode_bundle, load_bundle
from vaultak.policy.rules.tree import And, Bundle, Enforce, Mode, Not, OnError, Operator, Or, Rule, Scope, Test

__all__ = [
    "And",
    "Bundle",
    "CompiledRules",
    "Enforce",
    "Mode",
    "Not",
    "OnError",
    "Operator",
    "Or",
    "Rule",
    "RuleVerdict",
    "Scope",
    "Test",
    "decode_bundle",
    "load_bundle",
]
