"""One action as features see it: everything that does not depend on the agent, worked out once."""

from __future__ import annotations

import hashlib
import math
from urllib.parse import urlsplit

import msgspec

from vaultak.policy.static_risk import DEFAULT_MODEL, VERBS, StaticRisk
from vaultak.wire import Action, ActionType

MAX_NAME = 64
MAX_FIELDS = 8
_STATEMENTS = frozenset({ActionType.DATABASE_QUERY, ActionType.DATABASE_WRITE})
_SIZE_SAMPLE = 65_536

_encode = msgspec.json.encode


class Sighting(msgspec.Struct, frozen=True, array_like=True):
    """`kind`: what is done with what sort of thing (`tool_call tool:send_mail`, `file_read *.log`)."""

    kind: str
    resource: str
    resource_id: str
    group: str
    """The directory, host, table or tool that the resource belongs to."""
    log_size: float
    fields: tuple[str, ...]
    hour: int
    ts_us: int
    destructiveness: float
    sensitivity: float
    unmentioned: tuple[str, ...] = ()
    """Members of the payload whose values nobody named in this session before."""
    repeats: int = 0
    """Actions of this kind in this session before this one."""


def sight(action: Action, ts_us: int) -> Sighting:
    """Look at an action. Never raises, whatever the payload holds."""
    static = static_of(action)
    group = group_of(action.resource)
    return Sighting(
        kind=f"{action.action_type.value} {_sort_of(action.resource, group)}",
        resource=action.resource,
        resource_id=digest(action.resource),
        group=_clip(group),
        log_size=math.log1p(_size(action)),
        fields=tuple(sorted(str(name)[:24] for name in list(action.payload)[:MAX_FIELDS])),
        hour=(ts_us // 3_600_000_000) % 24,
        ts_us=ts_us,
        destructiveness=static.destructiveness,
        sensitivity=static.sensitivity,
    )


def static_of(action: Action) -> StaticRisk:
    """What the action can do at worst. Of a statement to a database, its first verb says more than the kind."""
    static = DEFAULT_MODEL.assess(action.action_type, action.resource)
    if action.action_type not in _STATEMENTS:
        return static
    first = next((value for value in list(action.payload.values())[:MAX_FIELDS] if isinstance(value, str)), "")
    verb = VERBS.get(first.lstrip(" (\n\t;")[:32].partition(" ")[0].lower(), 0.0)
    if verb <= static.destructiveness:
        return static
    return StaticRisk(verb, static.sensitivity, round(verb * (0.4 + 0.6 * static.sensitivity), 4))


def _clip(name: str) -> str:
    """A name short enough to keep, and still its own."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 13]}~{digest(name)}"


def digest(text: str) -> str:
    """48 bits that stand for a text."""
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=6).hexdigest()


def group_of(resource: str) -> str:
    """The nearest container of a resource that behaviour is worth comparing by."""
    if resource.startswith("/"):
        return resource.rpartition("/")[0] or "/"
    scheme, sep, rest = resource.partition("://")
    if sep:
        if scheme == "db":
            return resource.rpartition("/")[0]
        try:
            return f"{scheme}://{urlsplit(resource).netloc}"
        except ValueError:
            return f"{scheme}://{rest[:64]}"
    return resource[:256]


def _sort_of(resource: str, group: str) -> str:
    """What tells kinds of actions apart without telling every file from every other."""
    if resource.startswith("/"):
        name = resource.rpartition("/")[2]
        return f"*.{name.rpartition('.')[2][:16]}" if "." in name else "*"
    if resource.startswith("tool:"):
        return _clip(resource)
    return group.partition("://")[0][:64] if "://" in group else resource.partition(":")[0][:64]


def _size(action: Action) -> int:
    if isinstance(action.payload_bytes, int):
        return action.payload_bytes
    try:
        return len(_encode(action.payload))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return _SIZE_SAMPLE
