"""Where the store holds the fields that rules ask for."""

from __future__ import annotations

import enum
from typing import Any, Protocol

import msgspec


class Bind(Protocol):
    """Makes a value a parameter of the query; returns the placeholder."""

    def __call__(self, value: Any, kind: str = "String") -> str: ...


class Kind(enum.Enum):
    """What a field can be: text and numbers are columns, anything else is JSON."""

    TEXT = enum.auto()
    NUMBER = enum.auto()
    JSON = enum.auto()
    NONE = enum.auto()
    """The store does not hold it."""


class Field(msgspec.Struct, frozen=True):
    """An expression for a field's value: null (JSON: `'null'`) where there is none."""

    sql: str
    kind: Kind
    always: bool = False
    """It is never null."""

    @property
    def lowered(self) -> str:
        return f"lowerUTF8({self.sql})"

    @property
    def json(self) -> str:
        """The value as JSON, `'null'` where there is none."""
        if self.kind is Kind.JSON:
            return self.sql
        return "'null'" if self.kind is Kind.NONE else f"ifNull(toJSONString({self.sql}), 'null')"

    @property
    def is_null(self) -> str:
        return f"{self.sql} = 'null'" if self.kind is Kind.JSON else f"isNull({self.sql})"


_ALWAYS = {name: name for name in ("action_type", "resource", "agent_id", "session_id", "assurance")} | {
    "local.decision": "ifNull(toString(local_decision), '')",
}
_TEXTS = {
    "tool": "if(startsWith(own_resource, 'tool:'), substring(own_resource, 6), NULL)",
    "role": "nullIf(labels['role'], '')",
}
_NUMBERS = {
    "risk": "coalesce(risk, toFloat64(toString(local_risk)))",
    "local.risk": "ifNull(toFloat64(toString(local_risk)), 0.)",
    # Stored in single precision: the shortest decimal that means it is what was scored.
    **{
        f"factors.{name}": f"toFloat64(toString(factors['{name}']))"
        for name in ("destructiveness", "sensitivity", "payload", "rate", "behaviour", "provenance")
    },
}
_OBJECTS = {"payload": "payload", "labels": "toJSONString(labels)", "factors": "'{}'", "local": "'{}'"}
_NOTHING = Field("NULL", Kind.NONE)


def field_of(name: str, bind: Bind, needed: str = "1") -> Field:
    """The field as closures read it. `history.*` and `session.*` are not stored.

    A member of the payload is read only where `needed`, a condition, holds.
    """
    if name in _ALWAYS:
        return Field(_ALWAYS[name], Kind.TEXT, always=True)
    if name in _TEXTS:
        return Field(_TEXTS[name], Kind.TEXT)
    if name in _NUMBERS:
        return Field(_NUMBERS[name], Kind.NUMBER)
    if name in _OBJECTS:
        return Field(_OBJECTS[name], Kind.JSON)
    head, _, rest = name.partition(".")
    if head == "payload":
        parts = rest.split(".")
        path = ", ".join(bind(part) for part in parts)
        # Most payloads do not have the member: they are not parsed to find that out.
        written = bind(msgspec.json.encode(parts[-1]).decode())
        read = f"ifNull(nullIf(JSONExtractRaw(payload, {path}), ''), 'null')"
        return Field(f"if({needed} AND position(payload, {written}) > 0, {read}, 'null')", Kind.JSON)
    if head == "labels":
        key = bind(rest)
        return Field(f"if(mapContains(labels, {key}), labels[{key}], NULL)", Kind.TEXT)
    return _NOTHING
