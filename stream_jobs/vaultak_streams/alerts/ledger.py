"""What was told and what is still to be told, on disk: a restart repeats nothing and forgets nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from vaultak.wire.codec import UNREADABLE
from vaultak_devstack.files import write_private
from vaultak_streams.alerts.notice import Notice, Told

log = structlog.get_logger("vaultak.alerts")

MAX_BYTES = 64 * 1024 * 1024


class Page(msgspec.Struct, kw_only=True):
    """The content of the file."""

    told: list[tuple[str, Told]] = []
    waiting: dict[str, list[Notice]] = {}
    """By destination: what it has not taken yet, the oldest first."""


class Ledger:
    """One file. What cannot be read or written is said, and stops no alert: one may come twice then."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Page:
        """What was written last; an empty page where there is none."""
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(MAX_BYTES), type=Page)
        except FileNotFoundError:
            pass
        except (OSError, *UNREADABLE) as e:
            log.warning("what was told before is not known", file=str(self._path), error=str(e))
        return Page()

    def save(self, content: bytes) -> None:
        """Write it all, atomically and durably. `content`: a page, encoded."""
        try:
            write_private(self._path, content)
        except OSError as e:
            log.warning("what was told is not kept", file=str(self._path), error=str(e))
