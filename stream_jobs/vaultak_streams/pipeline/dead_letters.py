"""What cannot be judged is kept: the raw bytes, the reason, and where they came from."""

from __future__ import annotations

import base64
import hashlib

from vaultak.wire import DeadLetter, Reason
from vaultak_streams.records import Record

MAX_KEPT_BYTES = 64 * 1024
"""Of a value; in base64 that fits the broker's default message limit many times over."""

MAX_KEPT_KEY_BYTES = 1024
MAX_DETAIL_CHARS = 500


def dead_letter(record: Record, reason: Reason, detail: str, ts: str) -> DeadLetter:
    """A record that will not be judged. `value_sha256` and `value_bytes` are of all of it, even where it is cut."""
    value = record.value or b""
    return DeadLetter(
        reason=reason.value,
        detail=detail[:MAX_DETAIL_CHARS],
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        ts=ts,
        key_base64=_base64((record.key or b"")[:MAX_KEPT_KEY_BYTES]),
        value_base64=_base64(value[:MAX_KEPT_BYTES]),
        value_bytes=len(value),
        value_truncated=len(value) > MAX_KEPT_BYTES,
        value_sha256=hashlib.sha256(value).hexdigest(),
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
