"""Which rules can match an action at all: looked up by what each rule demands of its resource, tool or type.

A rule is filed once, under the narrowest test that its condition cannot be true without. Rules without such a test
are candidates for every action: a bundle of many of them costs in proportion to their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from vaultak.policy.rules.tree import And, Node, Operator, Or, Test

MAX_PREFIX_LENGTHS = 32
"""Each length costs a lookup: rules with prefixes of further lengths are candidates for every action."""

_FIELDS = ("resource", "tool", "action_type")


class Anchor(msgspec.Struct, frozen=True):
    """A demand: `field` equals one of `texts` (lower case) or, for `prefix`, starts with one."""

    field: str
    texts: frozenset[str]
    prefix: bool

    @property
    def breadth(self) -> tuple[int, bool, int]:
        return _FIELDS.index(self.field), self.prefix, len(self.texts)


def anchor(node: Node) -> Anchor | None:
    """The narrowest demand that `node` cannot be true without; `None` where there is none."""
    if isinstance(node, And):
        found = [part for part in map(anchor, node.nodes) if part is not None]
        return min(found, key=lambda part: part.breadth) if found else None
    if isinstance(node, Or):
        return _union([anchor(part) for part in node.nodes])
    if isinstance(node, Test):
        return _demand(node)
    return None


def _union(parts: list[Anchor | None]) -> Anchor | None:
    first = parts[0]
    if first is None or any(p is None or (p.field, p.prefix) != (first.field, first.prefix) for p in parts):
        return None
    return Anchor(first.field, frozenset().union(*(p.texts for p in parts if p is not None)), first.prefix)


def _demand(test: Test) -> Anchor | None:
    prefix = test.op is Operator.STARTSWITH and test.field == "resource"
    if test.field not in _FIELDS or not (prefix or test.op is Operator.EQUALS):
        return None
    texts = [value.lower() for value in test.values if isinstance(value, str)]
    if len(texts) != len(test.values):
        return None
    return Anchor(test.field, frozenset(texts), prefix)


class RuleIndex:
    """Positions of the rules that an action with these fields may match, in rising order."""

    def __init__(self, conditions: Sequence[Node]) -> None:
        self._everything = tuple(range(len(conditions)))
        self._equal: dict[str, dict[str, list[int]]] = {field: {} for field in _FIELDS}
        self._prefixes: dict[int, dict[str, list[int]]] = {}
        self._always: list[int] = []
        for position, condition in enumerate(conditions):
            self._file(position, anchor(condition))

    def _file(self, position: int, demand: Anchor | None) -> None:
        if demand is None or (demand.prefix and not self._room({len(text) for text in demand.texts})):
            self._always.append(position)
            return
        for text in demand.texts:
            home = self._prefixes.setdefault(len(text), {}) if demand.prefix else self._equal[demand.field]
            home.setdefault(text, []).append(position)

    def _room(self, lengths: set[int]) -> bool:
        return len(lengths | self._prefixes.keys()) <= MAX_PREFIX_LENGTHS

    def candidates(self, fields: Mapping[str, Any]) -> Sequence[int]:
        found = set(self._always)
        for name, rules in self._equal.items():
            value = fields.get(name)
            if value is None or not rules:
                continue
            if not isinstance(value, str):
                return self._everything
            found.update(rules.get(value.lower(), ()))
        resource = fields.get("resource")
        if self._prefixes and resource is not None:
            if not isinstance(resource, str):
                return self._everything
            lowered = resource.lower()
            for length, starts in self._prefixes.items():
                found.update(starts.get(lowered[:length], ()))
        return sorted(found)
