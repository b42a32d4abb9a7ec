"""Closures over an action's fields, made from the tree. Pure; linear in the size of rule and event."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import re2

from vaultak.errors import PolicyError
from vaultak.policy.rules.tree import (
    MAX_DEPTH,
    MAX_NODES_PER_RULE,
    MAX_VALUES_PER_RULE,
    MAX_VALUES_PER_TEST,
    And,
    Node,
    Not,
    Operator,
    Test,
    Value,
)

Fields = Mapping[str, Any]
Predicate = Callable[[Fields], bool]
Fit = Callable[[Any], bool]

MAX_REGEX_CHARS = 1000
REGEX_MEMORY_BYTES = 1 << 20
"""Of one compiled expression: a counted repetition of counted repetitions is refused, not built."""


_OPTIONS = re2.Options()
_OPTIONS.max_mem = REGEX_MEMORY_BYTES
_OPTIONS.log_errors = False


class ConditionError(Exception):
    """A field has a value that the test cannot judge. The rule's `on_error` decides."""


def compile_condition(node: Node) -> Predicate:
    """The tree as one function. Raises `PolicyError` when it is too deep, too large or not well-formed."""
    return _compile(node, 1, [0, 0])


def _compile(node: Node, depth: int, seen: list[int]) -> Predicate:
    seen[0] += 1
    if depth > MAX_DEPTH or seen[0] > MAX_NODES_PER_RULE:
        raise PolicyError(f"condition is larger than {MAX_NODES_PER_RULE} nodes or deeper than {MAX_DEPTH}")
    if isinstance(node, Test):
        seen[1] += len(node.values)
        if len(node.values) > MAX_VALUES_PER_TEST or seen[1] > MAX_VALUES_PER_RULE:
            raise PolicyError(f"more than {MAX_VALUES_PER_TEST} values in a test or {MAX_VALUES_PER_RULE} in a rule")
        return _test(node)
    if isinstance(node, Not):
        inner = _compile(node.node, depth + 1, seen)
        return lambda fields: not inner(fields)
    parts = tuple(_compile(part, depth + 1, seen) for part in node.nodes)
    return _all(parts) if isinstance(node, And) else _any(parts)


def _all(parts: tuple[Predicate, ...]) -> Predicate:
    def every(fields: Fields) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs more than the tests
            if not part(fields):
                return False
        return True

    return parts[0] if len(parts) == 1 else every


def _any(parts: tuple[Predicate, ...]) -> Predicate:
    def some(fields: Fields) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs more than the tests
            if part(fields):
                return True
        return False

    return parts[0] if len(parts) == 1 else some


@functools.lru_cache(maxsize=1024)
def reader(name: str) -> Callable[[Fields], Any]:
    """Reads `a.b`: a member of that whole name first, else `b` within `a`. `None` where there is none."""
    head, *rest = name.split(".")

    def read(fields: Fields) -> Any:
        if name in fields:
            return fields[name]
        value = fields.get(head)
        for part in rest:
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return value

    return read if rest else lambda fields: fields.get(name)


def _test(test: Test) -> Predicate:
    """A field that is null or absent fits nothing but `equals` null and `exists` false."""
    read = reader(test.field)
    if test.op is Operator.EXISTS:
        if len(test.values) != 1 or not isinstance(test.values[0], bool):
            raise PolicyError(f"`{test.field}|exists` wants `true` or `false`")
        wanted = test.values[0]
        return lambda fields: (read(fields) is not None) is wanted
    if test.op is Operator.FIELDREF:
        return _fieldref(test, read)
    if len(test.values) == 1:
        return _single(test, read)
    fits = tuple(_fit(test, value) for value in test.values)
    some = all if test.every else any
    when_null = test.op is Operator.EQUALS and some(value is None for value in test.values)

    def judge(fields: Fields) -> bool:
        found = read(fields)
        return when_null if found is None else some(_holds(fit, found) for fit in fits)

    return judge


def _single(test: Test, read: Callable[[Fields], Any]) -> Predicate:
    """A test of one value, as most are."""
    value = test.values[0]
    fit = _fit(test, value)
    when_null = test.op is Operator.EQUALS and value is None

    def judge(fields: Fields) -> bool:
        found = read(fields)
        return when_null if found is None else _holds(fit, found)

    return judge


def _fieldref(test: Test, read: Callable[[Fields], Any]) -> Predicate:
    others = tuple(reader(_text(test, value)) for value in test.values)
    some = all if test.every else any

    def same(fields: Fields) -> bool:
        mine = read(fields)
        if mine is None:
            return False
        return some((other := get(fields)) is not None and _same(mine, other) for get in others)

    return same


def _holds(fit: Fit, value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(fit(item) for item in value)
    return fit(value)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left.lower() == right.lower()
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def _fit(test: Test, value: Value) -> Fit:
    match test.op:
        case Operator.EQUALS:
            return lambda found: _same(found, value)
        case Operator.CONTAINS:
            part = _text(test, value).lower()
            return lambda found: part in _textual(test, found).lower()
        case Operator.STARTSWITH:
            part = _text(test, value).lower()
            return lambda found: _textual(test, found).lower().startswith(part)
        case Operator.ENDSWITH:
            part = _text(test, value).lower()
            return lambda found: _textual(test, found).lower().endswith(part)
        case Operator.RE:
            search = compile_regex(_text(test, value)).search
            return lambda found: search(_textual(test, found)) is not None
        case Operator.CIDR:
            return _cidr(test, _text(test, value))
        case _:
            return _order(test, value)


def compile_regex(pattern: str) -> Any:
    """An RE2 expression. Raises `PolicyError` when it is too long, too costly or not one."""
    if len(pattern) > MAX_REGEX_CHARS:
        raise PolicyError(f"regular expression is longer than {MAX_REGEX_CHARS} characters")
    try:
        return re2.compile(pattern, _OPTIONS)
    except (re2.error, UnicodeEncodeError) as e:
        raise PolicyError(f"`{pattern}` is not a regular expression of RE2: {e}") from None


def _cidr(test: Test, text: str) -> Fit:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise PolicyError(f"`{test.field}|cidr`: `{text}` is not a network") from None

    def within(found: Any) -> bool:
        try:
            address = ipaddress.ip_address(_textual(test, found))
        except ValueError:
            return False  # a name, not an address
        mapped = getattr(address, "ipv4_mapped", None)
        return address in network or (mapped is not None and mapped in network)

    return within


def _order(test: Test, value: Value) -> Fit:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise PolicyError(f"`{test.field}|{test.op}` wants a number")
    bound = value
    match test.op:
        case Operator.LT:
            return lambda found: _number(test, found) < bound
        case Operator.LTE:
            return lambda found: _number(test, found) <= bound
        case Operator.GT:
            return lambda found: _number(test, found) > bound
        case _:
            return lambda found: _number(test, found) >= bound


def _text(test: Test, value: Value) -> str:
    if not isinstance(value, str) or not value:
        raise PolicyError(f"`{test.field}|{test.op}` wants text that is not empty")
    return value


def _textual(test: Test, found: Any) -> str:
    if isinstance(found, str):
        return found
    raise ConditionError(f"`{test.field}` is {type(found).__name__}, not text")


def _number(test: Test, found: Any) -> float:
    if isinstance(found, int | float) and not isinstance(found, bool) and found == found:
        return found
    raise ConditionError(f"`{test.field}` is {type(found).__name__}, not a number")
