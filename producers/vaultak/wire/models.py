"""Models as they are promoted: topic `vaultak.models`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from vaultak.wire.events import Identifier, Timestamp


class ModelPromotion(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which model judges from now on, and that model. Obeyed only when its signature holds.

    The record with the highest `epoch` counts. Each stays under a key of its own (`epoch` in decimal), so that
    compaction keeps them all.
    """

    promotion_id: Identifier
    epoch: Annotated[int, Meta(ge=0)]
    """Microseconds since the epoch at which it was promoted."""
    ts: Timestamp
    issued_by: str
    version: str
    """Feature set and SHA-256 of the arrays; `shipped`: the one of the package, which comes without files."""
    files: dict[str, bytes] = {}
    """`model.npz`, `manifest.json` and `record.json`: arrays and text, never code."""
    signature: str = ""
    key_id: str = ""
