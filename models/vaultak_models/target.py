"""What an action does to what, whoever does it: worked out once for each resource, not for each action."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

import msgspec

from vaultak.policy.static_risk import DEFAULT_MODEL, VERBS, StaticRisk
from vaultak.wire import Action, ActionType
from vaultak_models.provenance.tokens import token_id

MAX_NAME = 64
MAX_TARGETS = 8_192
MAX_KEPT = 512
"""Targets with longer resources are worked out each time."""
_VALUES = 8
"""Members of a payload among which a statement is looked for."""

_TARGETS: dict[str, dict[str, Target]] = {}


class Target(msgspec.Struct, frozen=True, gc=False):
    """What an action does to what, whoever does it."""

    kind: str
    """What is done with what sort of thing (`tool_call tool:send_mail`, `file_read *.log`)."""
    resource: str
    """As it was, but for half characters."""
    resource_id: int
    """48 bits that stand for the resource."""
    group: str
    """The directory, host, table or tool that the resource belongs to."""
    token: int
    """The resource among the tokens of what is said in a session."""
    static: StaticRisk
    statement: bool
    """Whether it is a database that is told what to do."""


def target_of(action_type: ActionType, resource: str) -> Target:
    """The target of an action. Never raises."""
    # By the text of the type: hashing an enum's member is slow.
    name = action_type._value_
    known = _TARGETS.get(resource)
    if known is None:
        if len(_TARGETS) >= MAX_TARGETS:
            _TARGETS.clear()
        known = {}
        if len(resource) <= MAX_KEPT:
            _TARGETS[resource] = known
    target = known.get(name)
    if target is None:
        resource = whole(resource)
        group = group_of(resource)
        target = known[name] = Target(
            f"{name} {_sort_of(resource, group)}",
            resource,
            int(digest(resource), 16),
            _clip(group),
            token_id(resource),
            DEFAULT_MODEL.assess(action_type, resource),
            action_type in (ActionType.DATABASE_WRITE, ActionType.DATABASE_QUERY),
        )
    return target


def static_of(action: Action, target: Target) -> StaticRisk:
    """What the action can do at worst. Of a statement to a database, its first verb says more than the kind."""
    static = target.static
    if not target.statement:
        return static
    first = next((value for value in list(action.payload.values())[:_VALUES] if isinstance(value, str)), "")
    verb = VERBS.get(first.lstrip(" (\n\t;")[:32].partition(" ")[0].lower(), 0.0)
    if verb <= static.destructiveness:
        return static
    return StaticRisk(verb, static.sensitivity, round(verb * (0.4 + 0.6 * static.sensitivity), 4))


def _clip(name: str) -> str:
    """A name short enough to keep, and still its own."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 13]}~{digest(name)}"


def whole(text: str) -> str:
    """Half characters, which JSON can spell and UTF-8 cannot, replaced: profiles are saved as UTF-8."""
    return text if text.isascii() else text.encode(errors="replace").decode()


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
