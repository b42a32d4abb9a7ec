"""What is wrong with rule files: each bad rule at the line of the faulty key, then how the good ones stand together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import UNSET, UnsetType

from vaultak.policy.rules.tree import And, Mode, Node, Not, Operator, Or, Rule, Test, Value
from vaultak.wire import SEVERITY
from vaultak_streams.policy.source import RuleSource, read_rules
from vaultak_streams.policy.trial import try_rules

MAX_COMPARED_RULES = 2000
"""Rules are compared in pairs within a file set: beyond this many only duplicates of id and text are looked for."""


class Finding(msgspec.Struct, frozen=True):
    """One problem. `line` counts from 1; `error` tells what would not load or never works from what is suspicious."""

    file: str
    line: int
    code: str
    message: str
    error: bool = True
    rule: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message} [{self.code}]"


class Placed(msgspec.Struct, frozen=True):
    file: str
    source: RuleSource

    @property
    def rule(self) -> Rule:
        return self.source.rule

    def finding(self, code: str, message: str, error: bool = True) -> Finding:
        return Finding(self.file, self.source.line, code, message, error, self.rule.id)


def lint_texts(texts: Mapping[str, str]) -> list[Finding]:
    """Findings of the files (name: text), in the order of files and lines. Never raises on any text."""
    findings: list[Finding] = []
    placed: list[Placed] = []
    for name, text in texts.items():
        sources, faults = read_rules(text)
        findings += [Finding(name, fault.line, "syntax", fault.message) for fault in faults]
        placed += [Placed(name, source) for source in sources]
    findings += _alone(placed)
    findings += _together(placed)
    order = {name: position for position, name in enumerate(texts)}
    return sorted(findings, key=lambda found: (order[found.file], found.line, found.code))


def _alone(placed: Iterable[Placed]) -> Iterable[Finding]:
    for one in placed:
        if never(one.rule.condition):
            yield one.finding("unreachable", f"rule `{one.rule.id}` can match nothing; its demands exclude each other")
        if one.rule.override and one.rule.enforce.value != "allow":
            yield one.finding("override", "`override` lifts nothing here; only `enforce: allow` may override")
        outcomes = {test.match for test in one.source.tests}
        if outcomes != {True, False}:
            missing = "matches" if True not in outcomes else "does not match"
            yield one.finding("untested", f"add a test with an event that the rule {missing}", False)
        for failure in try_rules([one.source]):
            wanted = "to match" if failure.wanted else "not to match"
            yield one.finding("test", f"test `{failure.test}` is expected {wanted}, and does otherwise")


def _together(placed: list[Placed]) -> Iterable[Finding]:
    ids: dict[str, Placed] = {}
    alike: dict[tuple[bytes, Mode], Placed] = {}
    for one in placed:
        first = ids.setdefault(one.rule.id, one)
        if first is not one:
            yield one.finding(
                "duplicate-id",
                f"id `{one.rule.id}` is taken by {first.file}:{first.source.line}; give each rule its own",
            )
        demands = {key: getattr(one.rule, key) for key in ("condition", "scope", "rate", "active")}
        key = (msgspec.json.encode({k: v for k, v in demands.items() if v is not UNSET}), one.rule.mode)
        twin = alike.setdefault(key, one)
        if twin is not one:
            yield _twins(twin, one)
    if len(placed) <= MAX_COMPARED_RULES:
        yield from _shadowed(placed)


def _twins(first: Placed, second: Placed) -> Finding:
    where = f"`{first.rule.id}` ({first.file}:{first.source.line})"
    if first.rule.enforce is second.rule.enforce:
        return second.finding("duplicate", f"matches the same as {where} and asks for the same; remove one")
    return second.finding(
        "contradiction",
        f"matches the same as {where}, which asks for `{first.rule.enforce}` and this for `{second.rule.enforce}`;"
        " keep one",
    )


def _shadowed(placed: list[Placed]) -> Iterable[Finding]:
    """A rule is shadowed where another matches at least the same and is more severe, or lifts it."""
    active = [(one, _parts(one.rule.condition)) for one in placed if one.rule.mode is Mode.ENFORCE]
    for narrow, narrow_parts in active:
        for wide, wide_parts in active:
            if narrow is wide or _is_timed(wide.rule) or wide.rule.scope != narrow.rule.scope:
                continue
            if not (wide_parts < narrow_parts or (wide_parts == narrow_parts and _is_timed(narrow.rule))):
                continue
            if wide.rule.override:
                how = f"is lifted by the override of `{wide.rule.id}`"
            elif SEVERITY[wide.rule.enforce.decision] > SEVERITY[narrow.rule.enforce.decision]:
                how = f"decides nothing beside `{wide.rule.id}`, which asks for `{wide.rule.enforce}`"
            else:
                continue
            if not narrow.rule.override:
                at = f"({wide.file}:{wide.source.line})"
                yield narrow.finding(
                    "shadowed", f"{how} {at} whenever it matches; remove it or narrow the other", False
                )
                break


def _is_timed(rule: Rule) -> bool:
    """Whether it may not match although its condition holds."""
    return not (isinstance(rule.rate, UnsetType) and isinstance(rule.active, UnsetType))


def _parts(node: Node) -> frozenset[bytes]:
    """What must hold, each as its JSON: a rule that demands a subset of another's matches at least as much."""
    if isinstance(node, And):
        return frozenset().union(*map(_parts, node.nodes))
    return frozenset({msgspec.json.encode(node)})


def never(node: Node) -> bool:
    """Whether `node` holds for no event, as far as equalities, bounds, `exists` and negations of one another say."""
    if isinstance(node, Or):
        return all(map(never, node.nodes))
    if not isinstance(node, And):
        return False
    tests = list(_conjunction(node))
    if any(never(part) for part in tests):
        return True
    negated = {msgspec.json.encode(part.node) for part in tests if isinstance(part, Not)}
    if any(msgspec.json.encode(part) in negated for part in tests):
        return True
    fields: dict[str, list[Test]] = {}
    for part in tests:
        if isinstance(part, Test):
            fields.setdefault(part.field, []).append(part)
    return any(_exclude(found) for found in fields.values())


def _conjunction(node: And) -> Iterable[Node]:
    for part in node.nodes:
        if isinstance(part, And):
            yield from _conjunction(part)
        else:
            yield part


_SINGLE = frozenset({"action_type", "resource", "tool", "risk", "agent_id", "session_id", "role"})
"""Fields that are never lists: only there do two values exclude each other."""


def _exclude(tests: list[Test]) -> bool:
    absent = any(test.op is Operator.EXISTS and test.values == (False,) for test in tests)
    if absent and any(_demands_presence(test) for test in tests):
        return True
    if tests[0].field not in _SINGLE:
        return False
    equal = [set(map(_folded, test.values)) for test in tests if test.op is Operator.EQUALS and not test.every]
    if len(equal) > 1 and not set.intersection(*equal):
        return True
    low = [v for t in tests if t.op in (Operator.GT, Operator.GTE) for v in t.values if isinstance(v, int | float)]
    high = [v for t in tests if t.op in (Operator.LT, Operator.LTE) for v in t.values if isinstance(v, int | float)]
    several = any(len(test.values) > 1 for test in tests)
    return not several and bool(low and high) and max(low) > min(high)


def _demands_presence(test: Test) -> bool:
    if test.op is Operator.EXISTS:
        return test.values == (True,)
    return not (test.op is Operator.EQUALS and None in test.values)


def _folded(value: Value) -> Value:
    return value.lower() if isinstance(value, str) else value
