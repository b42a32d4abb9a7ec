"""One test of a rule as a ClickHouse expression."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

from vaultak.policy.rules.tree import Operator, Test, Value
from vaultak_streams.policy.sql_fields import Field, Kind

_TEXTUAL = frozenset({
    Operator.CONTAINS, Operator.STARTSWITH, Operator.ENDSWITH, Operator.RE, Operator.CIDR,
})  # fmt: skip
_WITHOUT_CASE = frozenset({Operator.EQUALS, Operator.CONTAINS, Operator.STARTSWITH, Operator.ENDSWITH})
_SIGNS: Final = {Operator.LT: "<", Operator.LTE: "<=", Operator.GT: ">", Operator.GTE: ">="}
_NEEDLES: Final = 255
"""At most so many texts may be searched for at once."""
_EXACT: Final = 2**53

Of = Callable[[str], str]
"""A condition on the element that the argument names."""


class Parameters:
    """Values of rules by the names that stand for them, and expressions that several tests share."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.definitions: dict[str, str] = {}
        """Names by their expressions, in the order in which they build on each other."""
        self._names: dict[tuple[str, str], str] = {}

    def __call__(self, value: Any, kind: str = "String") -> str:
        name = self._names.setdefault((kind, repr(value)), f"v{len(self._names)}")
        self.values[name] = value
        return f"{{{name}:{kind}}}"

    def define(self, expression: str) -> str:
        """A name for an expression over the row: it is written, and computed, once."""
        return self.definitions.setdefault(expression, f"d{len(self.definitions)}")


def test_sql(test: Test, field: Field, others: Sequence[Field], bind: Parameters) -> tuple[str, bool]:
    """The expression, and whether it can be 2. `others` are the fields that a `fieldref` names."""
    if test.op is Operator.EXISTS:
        wanted = bool(test.values[0])
        if field.kind is Kind.NONE:
            return str(int(not wanted)), False
        return (f"(NOT {field.is_null})" if wanted else f"({field.is_null})"), False
    if test.op is Operator.FIELDREF:
        word = " AND " if test.every else " OR "
        return "(" + word.join(_same(field.json, other.json) for other in others) + ")", False
    if field.kind is Kind.NONE:
        return str(_when_null(test)), False
    if field.kind is Kind.JSON:
        return _json(test, field, bind)
    return _column(test, field, bind)


test_sql.__test__ = False  # type: ignore[attr-defined]


def _when_null(test: Test) -> int:
    nulls = [value is None for value in test.values]
    return int(test.op is Operator.EQUALS and (all(nulls) if test.every else any(nulls)))


# -- columns: text or a number, or null --------------------------------------------------------------------------------


def _column(test: Test, field: Field, bind: Parameters) -> tuple[str, bool]:
    is_text = field.kind is Kind.TEXT
    wrong = test.op in _SIGNS if is_text else test.op in _TEXTUAL
    if wrong:
        return ("2" if field.always else f"if({field.is_null}, 0, 2)"), True
    value = field.sql if field.always else bind.define(f"assumeNotNull({field.sql})")
    if test.op in _WITHOUT_CASE and is_text:
        value = bind.define(f"lowerUTF8({value})")
    fits = [fit(value) for fit in _fits(test, bind, text=is_text)]
    held = _joined(test, fits)
    return (held if field.always else f"if({field.is_null}, {_when_null(test)}, {held})"), False


def _joined(test: Test, parts: Sequence[str]) -> str:
    return "(" + (" AND " if test.every else " OR ").join(parts) + ")"


# -- JSON: a value, or a list of them ----------------------------------------------------------------------------------


def _json(test: Test, field: Field, bind: Parameters) -> tuple[str, bool]:
    raw = bind.define(field.sql)
    elements = bind.define(f"multiIf({raw} = 'null', [], startsWith({raw}, '['), JSONExtractArrayRaw({raw}), [{raw}])")
    if test.op is Operator.EQUALS:
        groups = [[value] for value in test.values] if test.every else [list(test.values)]
        held = _joined(test, [_any_equal(group, elements, bind) for group in groups])
        return (f"if({raw} = 'null', 1, {held})" if _when_null(test) else held), False
    numeric = test.op in _SIGNS
    bad = bind.define(f"arrayFirstIndex(x -> NOT {_IS_NUMBER if numeric else _IS_TEXT}, {elements})")
    values = _numbers(elements, bind) if numeric else _texts(elements, bind, lower=test.op in _WITHOUT_CASE)
    fits = _fits(test, bind, text=not numeric)
    # What comes before the first element that cannot be judged counts; then the first value, and each where all
    # have to fit, has met an error instead of an end.
    if test.every:
        held = " AND ".join(_any(fit, values) for fit in fits)
        before = " AND ".join(_any_before(bad, fit, values) for fit in fits)
    else:
        held = _any(_either(fits), values)
        before = _any_before(bad, _one(test, bind, text=not numeric), values)
    # What stands first in a condition is computed for all rows at once; behind it arrays would be copied row by row.
    return f"multiIf(({held}) AND {bad} = 0, 1, {bad} = 0, 0, {before}, 1, 2)", True


_IS_TEXT: Final = "startsWith(x, '\"')"
_IS_NUMBER: Final = "match(x, '^-?[0-9]')"


def _any(fit: Of, elements: str) -> str:
    return f"arrayExists(x -> {fit('x')}, {elements})"


def _any_before(end: str, fit: Of, elements: str) -> str:
    return f"arrayExists((x, n) -> n < {end} AND {fit('x')}, {elements}, arrayEnumerate({elements}))"


def _texts(elements: str, bind: Parameters, *, lower: bool) -> str:
    """The elements as texts; one that is none is empty."""
    read = "lowerUTF8(JSONExtractString(x))" if lower else "JSONExtractString(x)"
    return bind.define(f"arrayMap(x -> {read}, {elements})")


def _numbers(elements: str, bind: Parameters) -> str:
    return bind.define(f"arrayMap(x -> toFloat64OrZero(x), {elements})")


def _either(fits: Sequence[Of]) -> Of:
    return lambda x: "(" + " OR ".join(fit(x) for fit in fits) + ")"


def _one(test: Test, bind: Parameters, *, text: bool) -> Of:
    return _fits(Test(test.field, test.op, test.values[:1]), bind, text=text)[0]


def _any_equal(values: Sequence[Value], elements: str, bind: Parameters) -> str:
    """Whether an element of JSON is the same as any of the values."""
    literals, texts, numbers = [], [], []
    for value in values:
        if isinstance(value, str):
            texts.append(value.lower())
        elif value is None or isinstance(value, bool):
            literals.append({None: "null", True: "true", False: "false"}[value])
        elif abs(value) > _EXACT and isinstance(value, int):
            literals.append(str(value))
        else:
            numbers.append(float(value))
    parts = []
    if "" in texts:
        literals.append('""')
    if literals:
        parts.append(f"hasAny({elements}, {bind(literals, 'Array(String)')})")
    if texts := [text for text in texts if text]:
        parts.append(f"hasAny({_texts(elements, bind, lower=True)}, {bind(texts, 'Array(String)')})")
    if numbers:
        same = f"{_IS_NUMBER} AND toFloat64OrZero(x) IN {bind(numbers, 'Array(Float64)')}"
        parts.append(f"arrayExists(x -> {same}, {elements})")
    return "(" + " OR ".join(parts) + ")"


def _same(left: str, right: str) -> str:
    """Whether two pieces of JSON are the same text whatever its case, the same number, or alike in every byte."""
    texts = f"startsWith({left}, '\"') AND startsWith({right}, '\"')"
    numbers = f"match({left}, '^-?[0-9]') AND match({right}, '^-?[0-9]')"
    lowered = f"lowerUTF8(JSONExtractString({left})) = lowerUTF8(JSONExtractString({right}))"
    return (
        f"({left} != 'null' AND {right} != 'null' AND ({left} = {right} OR ({texts} AND {lowered})"
        f" OR ({numbers} AND toFloat64OrZero({left}) = toFloat64OrZero({right}))))"
    )


# -- values against one text or number ---------------------------------------------------------------------------------


def _fits(test: Test, bind: Parameters, *, text: bool) -> list[Of]:
    """Conditions on one text (in lower case, where case does not count) or number `x`, to be joined by `or` or, for
    `every`, by `and`: one for each value, or fewer that say the same."""
    values = test.values
    match test.op:
        case Operator.EQUALS:
            return _equal(test, bind, text=text)
        case Operator.CONTAINS:
            return _containing([str(value).lower() for value in values], test.every, bind)
        case Operator.STARTSWITH | Operator.ENDSWITH:
            at_end = test.op is Operator.ENDSWITH
            return _edges([str(value).lower() for value in values], test.every, bind, at_end=at_end)
        case Operator.RE:
            return [_matching(str(value), bind) for value in values]
        case Operator.CIDR:
            return [_within(str(value), bind) for value in values]
        case _:
            return [_ordered(_SIGNS[test.op], float(value), bind) for value in values]  # type: ignore[arg-type]


def _ordered(sign: str, bound: float, bind: Parameters) -> Of:
    placeholder = bind(bound, "Float64")
    return lambda x: f"{x} {sign} {placeholder}"


def _matching(pattern: str, bind: Parameters) -> Of:
    placeholder = bind(f"(?-s:{pattern})")  # a dot ends at the line's end, as in the closures
    return lambda x: f"match({x}, {placeholder})"


def _equal(test: Test, bind: Parameters, *, text: bool) -> list[Of]:
    groups = [[value] for value in test.values] if test.every else [list(test.values)]
    return [_among(group, bind, text=text) for group in groups]


def _among(values: list[Value], bind: Parameters, *, text: bool) -> Of:
    fitting: list[Any]
    if text:
        fitting = [value.lower() for value in values if isinstance(value, str)]
    else:
        fitting = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not fitting:
        return lambda _: "0"
    placeholder = bind(fitting, "Array(String)" if text else "Array(Float64)")
    return lambda x: f"{x} IN {placeholder}"


def _containing(texts: list[str], every: bool, bind: Parameters) -> list[Of]:
    size = 1 if every else _NEEDLES
    groups = [texts[start : start + size] for start in range(0, len(texts), size)]

    def search(group: list[str]) -> Of:
        if len(group) == 1:
            one = bind(group[0])
            return lambda x: f"position({x}, {one}) > 0"
        many = bind(group, "Array(String)")
        return lambda x: f"multiSearchAny({x}, {many})"

    return [search(group) for group in groups]


def _edges(texts: list[str], every: bool, bind: Parameters, *, at_end: bool) -> list[Of]:
    """Beginnings or ends, those of one length (in bytes) at once."""
    if every or len(texts) == 1:
        function = "endsWith" if at_end else "startsWith"
        one_by_one = [bind(text) for text in texts]
        return [lambda x, text=text: f"{function}({x}, {text})" for text in one_by_one]  # type: ignore[misc]
    by_length: dict[int, list[str]] = defaultdict(list)
    for text in texts:
        by_length[len(text.encode())].append(text)

    def edge(length: int, group: list[str]) -> Of:
        part = f"-{length}" if at_end else f"1, {length}"
        placeholder = bind(group, "Array(String)")
        return lambda x: f"substring({x}, {part}) IN {placeholder}"

    return [edge(length, group) for length, group in by_length.items()]


_V4: Final = r"^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.|$)){4}$"


def _within(text: str, bind: Parameters) -> Of:
    """Whether a text is an address in the network, or one of IPv6 that stands for one of IPv4 in it."""
    network = ipaddress.ip_network(text, strict=False)
    own = bind(str(network))
    if network.version == 6:
        return lambda x: _in_range(_v6(x), own)
    mapped = bind(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    is_v4 = bind(_V4)
    return lambda x: f"({_in_range((x, f'match({x}, {is_v4})'), own)} OR {_in_range(_v6(x), mapped)})"


def _v6(x: str) -> tuple[str, str]:
    bare = f"replaceRegexpOne({x}, '%[^%]+$', '')"
    return bare, f"isIPv6String({bare})"


def _in_range(address: tuple[str, str], network: str) -> str:
    """What is no address is not looked up at all: ClickHouse would fail the query."""
    text, condition = address
    return f"({condition} AND isIPAddressInRange(if({condition}, CAST({text}, 'String'), '::'), {network}))"
