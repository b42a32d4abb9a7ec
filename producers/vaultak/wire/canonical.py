"""Canonical JSON and the hash chain that makes a lost or changed event visible.

Canonical form: keys sorted, no white space, UTF-8, no escaping beyond what JSON demands. Null members are left
out, so a producer that never sets a field and one that sets it to null sign the same bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

GENESIS_HASH = "0" * 64
"""`prev_hash` of an instance's first event."""

_encoder = msgspec.json.Encoder(order="sorted")


def canonical_json(message: msgspec.Struct | dict[str, Any], *, without: tuple[str, ...] = ()) -> bytes:
    """Canonical bytes of a struct or a mapping, leaving out the top-level members named in `without`."""
    members: dict[str, Any] = message if isinstance(message, dict) else msgspec.to_builtins(message)
    return _encoder.encode({k: v for k, v in members.items() if v is not None and k not in without})


def chain_hash(event: msgspec.Struct | dict[str, Any]) -> str:
    """SHA-256 (hex) over the event without its own `hash`; `prev_hash` and `seq` are part of it."""
    return hashlib.sha256(canonical_json(event, without=("hash",))).hexdigest()
