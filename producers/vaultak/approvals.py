"""Actions that a person has to approve, and what was granted beyond the one that was asked about. Time is passed in."""

from __future__ import annotations

import enum
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from vaultak.wire import ActionType

MAX_GRANTS = 1024
DEFAULT_GRANT_S = 3600.0

_encode = msgspec.json.Encoder(order="sorted", enc_hook=repr).encode


class GrantScope(enum.StrEnum):
    """What an approval holds for besides the action that waits."""

    ONCE = "once"
    """Nothing."""
    SESSION = "session"
    """The same action with the same arguments, in the same session."""
    PATTERN = "pattern"
    """The same kind of action on the same resource for the same rules, whatever its arguments, in every session."""


class Asked(msgspec.Struct, frozen=True):
    """What a person is asked about. `arguments` is the SHA-256 of the payload: an approval is bound to it."""

    session_id: str
    action_type: ActionType
    resource: str
    arguments: str
    rules: tuple[str, ...]

    def key(self, scope: GrantScope) -> tuple[object, ...]:
        if scope is GrantScope.SESSION:
            return (scope, self.session_id, self.action_type, self.resource, self.arguments, self.rules)
        return (scope, self.action_type, self.resource, self.rules)


class Approvals:
    """The actions of one agent that wait for a person, and the grants given. Its owner holds a lock."""

    def __init__(self) -> None:
        self._asked: dict[str, Asked] = {}
        self._grants: OrderedDict[tuple[object, ...], float] = OrderedDict()

    def ask(self, action_id: str, asked: Asked) -> None:
        self._asked[action_id] = asked

    def __contains__(self, action_id: str) -> bool:
        return action_id in self._asked

    @property
    def action_ids(self) -> Sequence[str]:
        """Those that wait, in the order they came."""
        return tuple(self._asked)

    def done(self, action_id: str) -> None:
        self._asked.pop(action_id, None)

    def grant(self, action_id: str, scope: GrantScope, until_s: float) -> None:
        """Remember an approval beyond the action itself."""
        asked = self._asked.get(action_id)
        if asked is None or scope is GrantScope.ONCE:
            return
        self._grants[asked.key(scope)] = until_s
        while len(self._grants) > MAX_GRANTS:
            self._grants.popitem(last=False)

    def granted(self, asked: Asked, now_s: float) -> bool:
        """Whether such an action was approved before, for long enough."""
        return any(
            self._grants.get(asked.key(scope), 0.0) > now_s for scope in (GrantScope.SESSION, GrantScope.PATTERN)
        )


def digest_of(payload: dict[str, Any]) -> str:
    """The SHA-256 of a payload, in hex, whatever it holds."""
    try:
        text = _encode(payload)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        text = repr(payload).encode(errors="backslashreplace")
    return hashlib.sha256(text).hexdigest()
