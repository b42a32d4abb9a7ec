"""The syntax tree as ClickHouse expressions over stored actions: the same answers as the closures give.

A condition becomes a number: 0 it does not hold, 1 it does, 2 it cannot be judged. Parts are looked at in the order
in which closures look at them, so that an error counts where they would raise one, and ClickHouse computes what comes
later only for the rows that get there. Every value of a rule is a bound parameter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UnsetType

from vaultak.policy.rules.index import Anchor, anchor
from vaultak.policy.rules.tree import And, Day, Node, Not, Operator, Or, Rule, Scope, Test, Window
from vaultak.policy.rules.windows import minutes
from vaultak_streams.policy.sql_fields import Field, Kind, field_of
from vaultak_streams.policy.sql_tests import Parameters, test_sql

HOLDS: Final = 1
FAILED: Final = 2


class Translated(msgspec.Struct, frozen=True):
    """A rule for the store. `expression` is 0, 1 or 2; `unknown` are fields that the store does not hold, and `rate`:
    each time counts as one too many."""

    expression: str
    unknown: tuple[str, ...]
    types: frozenset[str] | None
    """Action types, in lower case, beyond which it is 0: to be asked once for all rules that have the same."""


class Piece(NamedTuple):
    """Part of a condition: a number, and whether it can be 2."""

    sql: str
    fails: bool


def translate(rules: Sequence[Rule]) -> tuple[list[Translated], Translator]:
    """All rules of a policy, and what they share."""
    plain = Translator()
    types = [plain.rule(rule).types for rule in rules]
    users: dict[str, list[frozenset[str] | None]] = defaultdict(list)
    for rule, of in zip(rules, types, strict=True):
        for name in _names(rule.condition):
            users[name].append(of)
    only = {
        name: frozenset().union(*(of for of in found if of is not None))
        for name, found in users.items()
        if None not in found
    }
    translator = Translator(only)
    return [translator.rule(rule) for rule in rules], translator


def _names(node: Node) -> set[str]:
    if isinstance(node, Test):
        return {node.field, *(map(str, node.values) if node.op is Operator.FIELDREF else ())}
    if isinstance(node, Not):
        return _names(node.node)
    return set().union(*map(_names, node.nodes))


class Translator:
    """Translates rules; what it binds for all of them is in `parameters`."""

    def __init__(self, only: Mapping[str, frozenset[str]] | None = None) -> None:
        """`only`: fields that matter for actions of these types alone."""
        self._bind = Parameters()
        self._only = only or {}
        self._aliases = 0

    @property
    def parameters(self) -> dict[str, Any]:
        return self._bind.values

    @property
    def definitions(self) -> list[str]:
        """The expressions that rules share, for a `WITH` clause."""
        return [f"{expression} AS {name}" for expression, name in self._bind.definitions.items()]

    def rule(self, rule: Rule) -> Translated:
        unknown: set[str] = set()
        sql, fails = self._node(rule.condition, unknown)
        guards = self._scope(rule.scope)
        if not isinstance(rule.active, UnsetType):
            guards.append(f"({' OR '.join(map(self._within, rule.active))})")
        if not isinstance(rule.rate, UnsetType):
            unknown.add("rate")
        if fails and (demand := anchor(rule.condition)) is not None:
            guards.append(self._demand(demand))
        if guards:
            sql = f"if({' AND '.join(guards)}, {sql}, 0)"
        return Translated(f"toUInt8({sql})", tuple(sorted(unknown)), _types(rule.condition, fails=fails))

    def of_types(self, types: frozenset[str]) -> str:
        """Whether an action is of one of these types."""
        return f"{self._bind.define('lowerUTF8(action_type)')} IN {self._bind(sorted(types), 'Array(String)')}"

    # -- the tree ----------------------------------------------------------------------------------------------

    def _node(self, node: Node, unknown: set[str]) -> Piece:
        if isinstance(node, Test):
            return self._test(node, unknown)
        if isinstance(node, Not):
            inner = self._node(node.node, unknown)
            if not inner.fails:
                return Piece(f"(NOT {inner.sql})", False)
            return Piece(f"transform({inner.sql}, [0, 1], [1, 0], 2)", True)
        parts = [self._node(part, unknown) for part in node.nodes]
        joined = [self._joined(list(run), fails, node) for fails, run in groupby(parts, key=lambda part: part.fails)]
        result = joined.pop()
        while joined:
            result = self._then(joined.pop(), result, node)
        return result

    def _joined(self, parts: list[Piece], fails: bool, node: And | Or) -> Piece:
        """Neighbours that cannot fail, or neighbours that can."""
        if not fails:
            word = " AND " if isinstance(node, And) else " OR "
            return Piece(f"({word.join(part.sql for part in parts)})", False)
        result = parts.pop()
        while parts:
            result = self._then(parts.pop(), result, node)
        return result

    def _then(self, first: Piece, rest: Piece, node: And | Or) -> Piece:
        """`rest` counts where `first` left it open."""
        ends = 0 if isinstance(node, And) else 1
        if not first.fails:
            sql = f"if({first.sql}, {rest.sql}, 0)" if isinstance(node, And) else f"if({first.sql}, 1, {rest.sql})"
            return Piece(sql, rest.fails)
        self._aliases += 1
        name = f"part{self._aliases}"
        return Piece(f"multiIf(({first.sql} AS {name}) = {ends}, {ends}, {name} = 2, 2, {rest.sql})", True)

    def _test(self, test: Test, unknown: set[str]) -> Piece:
        fields = [self._field(test.field)]
        others = [self._field(str(value)) for value in test.values] if test.op == "fieldref" else []
        names = [test.field, *(map(str, test.values) if others else ())]
        unknown.update(name for name, field in zip(names, fields + others, strict=True) if field.kind is Kind.NONE)
        sql, fails = test_sql(test, fields[0], others, self._bind)
        return Piece(sql, fails)

    def _field(self, name: str) -> Field:
        types = self._only.get(name)
        return field_of(name, self._bind) if types is None else field_of(name, self._bind, self.of_types(types))

    # -- whom and what a rule is for ---------------------------------------------------------------------------

    def _demand(self, demand: Anchor) -> str:
        """What the index of the closures looks a rule up by: where it is not met, they do not look at the rule."""
        field = field_of(demand.field, self._bind)
        lowered = self._bind.define(field.lowered)
        texts = sorted(demand.texts)
        if demand.prefix:
            return "(" + " OR ".join(f"startsWith({lowered}, {self._bind(text)})" for text in texts) + ")"
        return f"ifNull({lowered} IN {self._bind(texts, 'Array(String)')}, 0)"

    def _within(self, window: Window) -> str:
        """Hours of some days, by the clocks of a place, as `vaultak.policy.rules.windows` reads them."""
        order = list(Day)
        days = [order.index(day) + 1 for day in window.days or order]
        here = self._bind.define(f"toTimeZone(ts, {self._bind(window.zone)})")
        minute, day = f"(toHour({here}) * 60 + toMinute({here}))", f"toDayOfWeek({here})"
        start, end = self._bind(minutes(window.start), "UInt16"), self._bind(minutes(window.end), "UInt16")
        on_days = f"{day} IN {self._bind(days, 'Array(UInt8)')}"
        if minutes(window.start) < minutes(window.end):
            return f"({on_days} AND {minute} >= {start} AND {minute} < {end})"
        after = f"{day} IN {self._bind([day % 7 + 1 for day in days], 'Array(UInt8)')}"
        return f"(({on_days} AND {minute} >= {start}) OR ({after} AND {minute} < {end}))"

    def _scope(self, scope: Scope) -> list[str]:
        conditions = []
        if scope.agents:
            conditions.append(f"agent_id IN {self._bind(list(scope.agents), 'Array(String)')}")
        if scope.roles:
            roles = self._bind(list(scope.roles), "Array(String)")
            conditions.append(f"(labels['role'] != '' AND labels['role'] IN {roles})")
        for name, value in scope.labels.items():
            key = self._bind(name)
            conditions.append(f"(mapContains(labels, {key}) AND labels[{key}] = {self._bind(value)})")
        return conditions


def _types(node: Node, *, fails: bool) -> frozenset[str] | None:
    """The types that a condition cannot hold without; where it can fail, those that it looks at before all else."""
    if isinstance(node, Test):
        return _demanded(node)
    if isinstance(node, And):
        found = [_types(part, fails=fails) for part in (node.nodes[:1] if fails else node.nodes)]
        return min((types for types in found if types is not None), key=len, default=None)
    if isinstance(node, Or):
        found = [_types(part, fails=fails) for part in node.nodes]
        return None if None in found else frozenset().union(*(types for types in found if types is not None))
    return None


def _demanded(test: Test) -> frozenset[str] | None:
    texts = [value.lower() for value in test.values if isinstance(value, str)]
    plain = test.field == "action_type" and test.op is Operator.EQUALS and len(texts) == len(test.values)
    return frozenset(texts) if plain else None
