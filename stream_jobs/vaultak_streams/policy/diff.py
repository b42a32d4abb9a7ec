"""What differs between two sets of rules, rule by rule, in words."""

from __future__ import annotations

from typing import Any

import msgspec

from vaultak.policy.rules import And, Bundle, Not, Or, Rule, Test
from vaultak.policy.rules.tree import Node, Operator

_MEMBERS = ("title", "condition", "enforce", "mode", "on_error", "override", "scope", "rate", "active")
_SIGNS = {
    Operator.EQUALS: "is", Operator.CONTAINS: "contains", Operator.STARTSWITH: "starts with",
    Operator.ENDSWITH: "ends with", Operator.RE: "matches", Operator.CIDR: "is within", Operator.LT: "<",
    Operator.LTE: "<=", Operator.GT: ">", Operator.GTE: ">=", Operator.FIELDREF: "equals field",
}  # fmt: skip


class MemberChange(msgspec.Struct, frozen=True):
    """One member of a rule, before and after, as text."""

    member: str
    before: str
    after: str


class RuleChange(msgspec.Struct, frozen=True):
    """`kind`: `added`, `removed` or `changed`; members only for the last."""

    kind: str
    rule: str
    title: str
    members: tuple[MemberChange, ...] = ()


def diff_bundles(old: Bundle, new: Bundle) -> list[RuleChange]:
    """Rules are known by their id. Removed ones first, then changed, then added, each in the order of its bundle."""
    before = {rule.id: rule for rule in old.rules}
    after = {rule.id: rule for rule in new.rules}
    removed = [RuleChange("removed", rule.id, rule.title) for rule in old.rules if rule.id not in after]
    added = [RuleChange("added", rule.id, rule.title) for rule in new.rules if rule.id not in before]
    changed = [
        RuleChange("changed", rule.id, rule.title, members)
        for rule in new.rules
        if rule.id in before and (members := _members(before[rule.id], rule))
    ]
    return [*removed, *changed, *added]


def _members(before: Rule, after: Rule) -> tuple[MemberChange, ...]:
    return tuple(
        MemberChange(name, _shown(getattr(before, name)), _shown(getattr(after, name)))
        for name in _MEMBERS
        if getattr(before, name) != getattr(after, name)
    )


def _shown(value: Any) -> str:
    if isinstance(value, Test | And | Or | Not):
        return words(value)
    if value is msgspec.UNSET:
        return "none"
    return str(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


def words(node: Node) -> str:
    """A condition as one line of text."""
    if isinstance(node, Test):
        return _test(node)
    if isinstance(node, Not):
        return f"not ({words(node.node)})"
    parts = [words(part) if isinstance(part, Test | Not) else f"({words(part)})" for part in node.nodes]
    return (" and " if isinstance(node, And) else " or ").join(parts)


def _test(test: Test) -> str:
    if test.op is Operator.EXISTS:
        return f"{test.field} {'exists' if test.values[0] else 'does not exist'}"
    values = [msgspec.json.encode(value).decode() for value in test.values]
    shown = values[0] if len(values) == 1 else f"{'all of' if test.every else 'any of'} [{', '.join(values)}]"
    return f"{test.field} {_SIGNS[test.op]} {shown}"
