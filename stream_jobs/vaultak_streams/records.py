"""One message as it came from a partition or from a recording: the pipeline's only input."""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """Raw bytes and where they came from. Nothing is decoded yet, nothing is trusted."""

    topic: str
    partition: int
    offset: int
    """Of this record in its partition (in a recording: the number of the line, from 0)."""
    key: bytes | None
    value: bytes | None
    ts_ms: int
    """The broker's time stamp, milliseconds since the epoch; 0 where there is none."""
    objection: str = ""
    """Why nobody vouches for it, where somebody has to (`vaultak_streams.senders`); empty otherwise."""
