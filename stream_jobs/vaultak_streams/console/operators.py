"""Who uses the console, and what they may do."""

from __future__ import annotations

import enum

import msgspec

MAX_NAME_CHARS = 120


class Role(enum.StrEnum):
    """Each may do what the ones before it may.

    A viewer looks; an operator also pauses, resumes, kills, rolls back, approves and denies, one agent at a time; an
    admin also addresses every agent at once.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Whether this role may do what `needed` may."""
        return _RANK[self] >= _RANK[needed]


_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has been let in. `via` says how: `token`, `password` or `header`."""

    name: str
    role: Role
    via: str
    csrf: str = ""
    """What each form of this session has to carry."""

    @property
    def issuer(self) -> str:
        """How the audit names them as the issuer of a command."""
        return f"console:{self.name}"
