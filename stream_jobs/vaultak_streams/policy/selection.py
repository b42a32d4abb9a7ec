"""Selections of Sigma: maps of `field|modifier: value or values`, or lists of such maps."""

from __future__ import annotations

import re
from typing import Any

import re2

from vaultak.errors import PolicyError
from vaultak.policy.rules import And, Operator, Or, Test
from vaultak.policy.rules.tree import Node, Value

_PIECE = re.compile(r"(?s)\\([*?\\])|([*?])|(.)")
_TEXTUAL = (Operator.EQUALS, Operator.CONTAINS, Operator.STARTSWITH, Operator.ENDSWITH)


def parse_selection(name: str, members: Any) -> Node:
    """The tree of one selection. Raises `PolicyError` naming it."""
    if isinstance(members, list) and members and all(isinstance(part, dict) for part in members):
        parts = tuple(parse_selection(name, part) for part in members)
        return parts[0] if len(parts) == 1 else Or(parts)
    if not isinstance(members, dict) or not members:
        raise PolicyError(f"selection `{name}` wants a map of fields, or a list of such maps")
    tests = tuple(_parse_test(name, key, value) for key, value in members.items())
    return tests[0] if len(tests) == 1 else And(tests)


def _parse_test(selection: str, key: Any, value: Any) -> Node:
    where = f"selection `{selection}`, `{key}`"
    field, *modifiers = str(key).split("|")
    every = "all" in modifiers
    operators = [modifier for modifier in modifiers if modifier != "all"]
    if not field or len(operators) > 1:
        raise PolicyError(f"{where}: want one field and at most one modifier beside `all`")
    try:
        op = Operator(operators[0]) if operators else Operator.EQUALS
    except ValueError:
        known = ", ".join(f"`{op}`" for op in Operator)
        raise PolicyError(f"{where}: there is no modifier `{operators[0]}`; there are `all`, {known}") from None
    values = value if isinstance(value, list) else [value]
    if not values or not all(found is None or isinstance(found, str | int | float) for found in values):
        raise PolicyError(f"{where}: want text, a number, true, false, null, or a list of such that is not empty")
    return _join(field, op, values, every)


def _join(field: str, op: Operator, values: list[Value], every: bool) -> Node:
    """Values with wildcards become regular expressions beside the plain ones."""
    plain: list[Value] = []
    patterns: list[Value] = []
    for value in values:
        if op in _TEXTUAL and isinstance(value, str):
            text, pattern = _read_wildcards(value, op)
            (plain if pattern is None else patterns).append(text if pattern is None else pattern)
        else:
            plain.append(value)
    tests = [Test(field, kind, tuple(some), every) for kind, some in ((op, plain), (Operator.RE, patterns)) if some]
    if len(tests) == 1:
        return tests[0]
    return And(tuple(tests)) if every else Or(tuple(tests))


def _read_wildcards(value: str, op: Operator) -> tuple[str, str | None]:
    r"""The text with `\*`, `\?` and `\\` read, and the expression for it where it has wildcards."""
    text, pattern, wild = "", "", False
    for escaped, wildcard, plain in _PIECE.findall(value):
        text += escaped or wildcard or plain
        pattern += {"*": ".*", "?": "."}[wildcard] if wildcard else re2.escape(escaped or plain)
        wild = wild or bool(wildcard)
    start = r"\A" if op in (Operator.EQUALS, Operator.STARTSWITH) else ""
    end = r"\z" if op in (Operator.EQUALS, Operator.ENDSWITH) else ""
    return text, f"(?si){start}{pattern}{end}" if wild else None
