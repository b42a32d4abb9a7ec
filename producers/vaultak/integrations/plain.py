"""Foreign objects as plain data: what frameworks hand to tools and get from them, bounded, never raising."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec

from vaultak.redact import shown

MAX_DEPTH = 12
MAX_MEMBERS = 2_000
"""Of one container; what is beyond is counted in a last member. A payload is cut to 16 KiB later anyway."""
MAX_CHARS = 64 * 1024


def plain(value: object, depth: int = 0) -> Any:
    """`value` as objects, lists, texts and numbers. Models (pydantic, dataclasses, structs) become objects."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value[:MAX_CHARS]
    if depth >= MAX_DEPTH:
        return shown(value)
    try:
        if isinstance(value, Mapping):
            return _object(value, depth)
        if isinstance(value, Sequence | Set) and not isinstance(value, bytes | bytearray | memoryview):
            return _list(value, depth)
        if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
            return plain(dump(), depth + 1)
        return plain(msgspec.to_builtins(value), depth + 1)
    except Exception:  # noqa: BLE001 - whatever a foreign class raises
        return shown(value)


def _object(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for count, (name, member) in enumerate(value.items()):
        if count >= MAX_MEMBERS:
            members["..."] = f"{len(value) - count} more"
            break
        members[name if isinstance(name, str) else shown(name)] = plain(member, depth + 1)
    return members


def _list(value: Sequence[Any] | Set[Any], depth: int) -> list[Any]:
    members: list[Any] = []
    for count, member in enumerate(value):
        if count >= MAX_MEMBERS:
            members.append(f"... {len(value) - count} more")
            break
        members.append(plain(member, depth + 1))
    return members


def arguments_of(text: object) -> Any:
    """Arguments that a model gave as JSON text; what is no JSON is kept as it came. Never raises."""
    if not isinstance(text, str | bytes):
        return plain(text)
    try:
        return plain(json.loads(text)) if text else {}
    except (ValueError, RecursionError):
        return {"value": plain(text)}


def content_of(result: object) -> str:
    """A tool's result as text for the record; empty for `None`. Never raises."""
    if result is None:
        return ""
    if isinstance(result, str):
        return result[:MAX_CHARS]
    content = getattr(result, "content", None)
    if isinstance(content, str):
        return content[:MAX_CHARS]
    try:
        return json.dumps(plain(result), ensure_ascii=False, default=shown)[:MAX_CHARS]
    except Exception:  # noqa: BLE001 - whatever a foreign class raises
        return shown(result)
