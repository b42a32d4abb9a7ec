"""The syntax tree as ClickHouse expressions over stored actions: the same answers as the closures give.

A condition becomes a number: 0 it does not hold, 1 it does, 2 it cannot be judged. Parts are looked at in the order
in which closures look at them, so that an error counts where they would raise one, and ClickHouse computes what comes
later only for the rows that get there. Every value of a rule is a bound parameter.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UnsetType

from vaultak.policy.rules.index import Anchor, anchor
from vaultak.policy.rules.tree import And, Day, Node, Not, Or, Rule, Scope, Test, Window
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


class Piece(NamedTuple):
    """Part of a condition: a number, and whether it can be 2."""

    sql: str
    fails: bool


class Translator:
    """Translates rules; what it binds for all of them is in `parameters`."""

    def __init__(self) -> None:
        self._bind = Parameters()
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
        sql = self._node(rule.condition, unknown).sql
        guards = self._scope(rule.scope)
        if not isinstance(rule.active, UnsetType):
            guards.append(f"({' OR '.join(map(self._within, rule.active))})")
        if not isinstance(rule.rate, UnsetType):
            unknown.add("rate")
        if (demand := anchor(rule.condition)) is not None:
            guards.append(self._demand(demand))
        if guards:
            sql = f"if({' AND '.join(guards)}, {sql}, 0)"
        return Translated(f"toUInt8({sql})", tuple(sorted(unknown)))

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
        fields = [field_of(test.field, self._bind)]
        others = [field_of(str(value), self._bind) for value in test.values] if test.op == "fieldref" else []
        names = [test.field, *(map(str, test.values) if others else ())]
        unknown.update(name for name, field in zip(names, fields + others, strict=True) if field.kind is Kind.NONE)
        sql, fails = test_sql(test, fields[0], others, self._bind)
        return Piece(sql, fails)

    # -- whom and what a rule is for ---------------------------------------------------------------------------

    def _demand(self, demand: Anchor) -> str:
        """What the index of the closures looks a rule up by: where it is not met, they do not look at the rule."""
        field: Field = field_of(demand.field, self._bind)
        texts = sorted(demand.texts)
        if demand.prefix:
            return "(" + " OR ".join(f"startsWith({field.lowered}, {self._bind(text)})" for text in texts) + ")"
        return f"ifNull({field.lowered} IN {self._bind(texts, 'Array(String)')}, 0)"

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
