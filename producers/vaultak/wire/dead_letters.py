"""Whatever could not be decoded or judged: topic `vaultak.dead-letter`."""

from __future__ import annotations

from msgspec import Struct

from vaultak.wire.events import Timestamp


class DeadLetter(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The raw bytes, the reason, and where they came from."""

    reason: str
    """A `vaultak.wire.codec.Reason`."""
    detail: str
    topic: str
    partition: int
    offset: int
    ts: Timestamp
    key_base64: str = ""
    value_base64: str = ""
    value_bytes: int = 0
    value_truncated: bool = False
    """A value larger than the dead-letter topic takes is cut; `value_sha256` is of all of it."""
    value_sha256: str = ""
