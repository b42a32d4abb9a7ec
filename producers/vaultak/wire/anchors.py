"""How far the agents' chains have come, written down outside the store: topic `vaultak.anchors`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from vaultak.wire.events import AgentId, Digest, Sequence, Timestamp


class Head(Struct, frozen=True, array_like=True):
    """An event that was stored: how far a chain had come."""

    agent_id: AgentId
    instance: str
    seq: Sequence
    hash: Digest


class Anchor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The chains that went on since the anchor before, as one sink stored them. `heads` are in no order.

    `signature` is Ed25519 (hex) over the canonical JSON without itself and `key_id`, as of a command.
    """

    ts: Timestamp
    number: Annotated[int, Meta(ge=0)]
    """Of the sink's anchors, +1 each."""
    prev_hash: Digest
    """SHA-256 of the sink's anchor before, as the line of its file with the line feed; zeros for the first."""
    heads: tuple[Head, ...]
    signature: str = ""
    key_id: str = ""
