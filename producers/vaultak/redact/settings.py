"""What a user's own secrets look like, and what only looks like one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class Redaction(msgspec.Struct, frozen=True, kw_only=True):
    """`Vaultak(redact=Redaction(names=["maiden_name"]))`: on top of what is known anyway."""

    patterns: Mapping[str, str] = {}
    """Kind to RE2 pattern; a group `secret` may mark the part that is taken out."""
    names: Sequence[str] = ()
    """Of members whose values are secrets, in any case and with any separator: `maidenName`, `maiden_name`."""
    allow: Sequence[str] = ()
    """RE2 patterns: what one matches in full is no secret, whatever else says so."""
