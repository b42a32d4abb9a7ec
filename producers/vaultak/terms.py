"""The terms on which another process is the same agent: its supervisor, or a child that it starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from vaultak.config import Settings
from vaultak.policy.settings import PolicySettings
from vaultak.redact import Redaction
from vaultak.wire import Topics


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client and a monitor come to, in a form that can be written down."""

    agent_id: str
    session_id: str
    policy: PolicySettings
    settings: dict[str, Any]
    """See `pack_settings`."""
    pause_timeout_s: float
    state_timeout_s: float
    rollback_limit: int
    labels: dict[str, str] = {}
    redact: Redaction | None = None


def pack_settings(settings: Settings) -> dict[str, Any]:
    members = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    members["topics"] = settings.topics.prefix
    return {name: os.path.abspath(value) if isinstance(value, Path) else value for name, value in members.items()}


def unpack_settings(members: dict[str, Any]) -> Settings:
    """The inverse of `pack_settings`."""
    known = dict(members, topics=Topics(members["topics"]))
    for name in ("data_dir", "spool_dir", "policy"):
        if known[name] is not None:
            known[name] = Path(known[name])
    return Settings(**known)
