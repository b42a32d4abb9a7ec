"""Policies as they are pushed: topic `vaultak.policies`.

Each version stays under a key of its own (`epoch` in decimal), so that compaction keeps them all and a rollback finds
what was there before.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from vaultak.wire.events import Identifier, Timestamp


class PolicyRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rules for every agent, or for those with certain labels. Obeyed only when its signature holds.

    The record with the highest `epoch` counts; one with `canary` only for agents with all of these labels.
    """

    policy_id: Identifier
    epoch: Annotated[int, Meta(ge=0)]
    """Microseconds since the epoch at which it was pushed."""
    ts: Timestamp
    issued_by: str
    version: str
    """The bundle's own version."""
    bundle: bytes
    """The bundle's JSON, gzipped."""
    canary: dict[str, str] = {}
    reason: str = ""
    signature: str = ""
    key_id: str = ""
