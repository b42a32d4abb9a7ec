"""What an action does to what, whoever does it: worked out once for each resource, not for each action."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

import msgspec

from vaultak.policy.static_risk import DEFAULT_MODEL, StaticRisk, StaticRiskModel
from vaultak.wire import Action, ActionType
from vaultak_models.provenance.flow import matters
from vaultak_models.provenance.tokens import token_id

MAX_NAME = 64
MAX_TARGETS = 8_192
MAX_KEPT = 512
"""Targets with longer resources are worked out each time."""
_VALUES = 8
"""Members of a payload among which a statement is looked for."""


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
    flows: bool
    """Whether it can be part of a way out, see `provenance.flow`."""
    statement: bool
    """Whether it is a database that is told what to do."""


class Targets:
    """The targets of actions by the tables of one deployment. Keeps what it worked out, bounded."""

    def __init__(self, model: StaticRiskModel = DEFAULT_MODEL) -> None:
        self._model = model
        self._verbs = model.verbs
        self._known: dict[str, dict[str, Target]] = {}

    def of(self, action_type: ActionType, resource: str) -> Target:
        """The target of an action. Never raises."""
        # By the text of the type: hashing an enum's member is slow.
        name = action_type._value_
        known = self._known.get(resource)
        if known is None:
            if len(self._known) >= MAX_TARGETS:
                self._known.clear()
            known = {}
            if len(resource) <= MAX_KEPT:
                self._known[resource] = known
        target = known.get(name)
        if target is None:
            target = known[name] = self._work_out(action_type, resource)
        return target

    def _work_out(self, action_type: ActionType, resource: str) -> Target:
        resource = whole(resource)
        group = group_of(resource)
        static = self._model.assess(action_type, resource)
        return Target(
            f"{action_type._value_} {_sort_of(resource, group)}",
            resource,
            int(digest(resource), 16),
            _clip(group),
            token_id(resource),
            static,
            matters(action_type, static.destructiveness, static.sensitivity),
            action_type in (ActionType.DATABASE_WRITE, ActionType.DATABASE_QUERY),
        )

    def static_of(self, action: Action, target: Target) -> StaticRisk:
        """What the action can do at worst. Of a statement to a database, its first verb says more than the kind."""
        static = target.static
        if not target.statement:
            return static
        first = next((value for value in list(action.payload.values())[:_VALUES] if isinstance(value, str)), "")
        verb = self._verbs.get(first.lstrip(" (\n\t;")[:32].partition(" ")[0].lower(), 0.0)
        if verb <= static.destructiveness:
            return static
        return StaticRisk(verb, static.sensitivity, round(verb * (0.4 + 0.6 * static.sensitivity), 4))


DEFAULT_TARGETS = Targets()


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
