"""The syntax tree of policy rules and the bundle that carries it: all that closures and other targets read."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vaultak.wire import Decision

MAX_DEPTH = 32
MAX_NODES_PER_RULE = 2048
MAX_VALUES_PER_TEST = 1024
MAX_VALUES_PER_RULE = 8192
MAX_RULES = 10_000
MAX_RATED_RULES = 32
MAX_RATE_COUNT = 1000
MAX_RATE_WINDOW_S = 7 * 86_400
"""Of one bundle and one rule: together they bound what is remembered of an agent. See `tally`."""
MAX_BUNDLE_BYTES = 16 * 1024 * 1024
BUNDLE_FORMAT = 1

Value = str | int | float | bool | None
Text = Annotated[str, Meta(min_length=1, max_length=256)]


class Operator(enum.StrEnum):
    """How a field is tested. Text is compared without regard to case, except by `re`."""

    EQUALS = "equals"
    CONTAINS = "contains"
    STARTSWITH = "startswith"
    ENDSWITH = "endswith"
    RE = "re"
    CIDR = "cidr"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    EXISTS = "exists"
    FIELDREF = "fieldref"


class Enforce(enum.StrEnum):
    """What a matching rule asks for. `require_approval` is a pause with an approval request."""

    ALLOW = "allow"
    ALERT = "alert"
    PAUSE = "pause"
    REQUIRE_APPROVAL = "require_approval"
    BLOCK = "block"
    ROLLBACK = "rollback"
    KILL = "kill"

    @property
    def decision(self) -> Decision:
        return Decision.PAUSE if self is Enforce.REQUIRE_APPROVAL else Decision(self.value)


class Mode(enum.StrEnum):
    """`shadow` rules are evaluated and reported, and decide nothing."""

    ENFORCE = "enforce"
    SHADOW = "shadow"


class OnError(enum.StrEnum):
    """What a rule that cannot be evaluated asks for: a block, or an alert."""

    DENY = "deny"
    ALLOW = "allow"


class Test(msgspec.Struct, frozen=True, tag="test", forbid_unknown_fields=True):
    """True when any value (`every`: each value) fits the field, or any element of a field that is a list."""

    __test__ = False

    field: Text
    op: Operator
    values: Annotated[tuple[Value, ...], Meta(min_length=1, max_length=MAX_VALUES_PER_TEST)]
    every: bool = False


class And(msgspec.Struct, frozen=True, tag="and", forbid_unknown_fields=True):
    nodes: Annotated[tuple[Node, ...], Meta(min_length=1)]


class Or(msgspec.Struct, frozen=True, tag="or", forbid_unknown_fields=True):
    nodes: Annotated[tuple[Node, ...], Meta(min_length=1)]


class Not(msgspec.Struct, frozen=True, tag="not", forbid_unknown_fields=True):
    node: Node


Node = And | Or | Not | Test


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a rule is for; empty means everybody. Several kinds given: all of them must fit."""

    agents: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """More than `count` times within `window_s` seconds, counted apart for each combination of the fields in `by`."""

    count: Annotated[int, Meta(ge=1, le=MAX_RATE_COUNT)]
    window_s: Annotated[int, Meta(ge=1, le=MAX_RATE_WINDOW_S)]
    by: Annotated[tuple[Text, ...], Meta(max_length=4)] = ()


class Day(enum.StrEnum):
    """In the order of `datetime.weekday()`."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
Start = Annotated[str, Meta(pattern=f"^{_CLOCK}$")]
End = Annotated[str, Meta(pattern=f"^({_CLOCK}|24:00)$")]


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """Hours of some days, `from` up to but not including `to`, by the clocks of `zone`. One that ends before it starts
    runs over midnight; `days` are those on which it starts, none given: all."""

    days: Annotated[tuple[Day, ...], Meta(max_length=7)] = ()
    start: Start = "00:00"
    end: End = "24:00"
    zone: Text = "UTC"


Windows = Annotated[tuple[Window, ...], Meta(min_length=1, max_length=16)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. An unknown member is refused: a limit that is not understood must not be dropped in silence."""

    id: Text
    title: Text
    condition: Node
    enforce: Enforce
    mode: Mode = Mode.ENFORCE
    on_error: OnError = OnError.DENY
    override: bool = False
    scope: Scope = Scope()
    rate: Rate | UnsetType = UNSET
    """It matches only from so many times on."""
    active: Windows | UnsetType = UNSET
    """Outside these times it does not match."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compiled rules as they travel and rest: JSON, without YAML or Sigma's notation."""

    format: int
    version: Text
    rules: Annotated[tuple[Rule, ...], Meta(max_length=MAX_RULES)]
