"""The sink's side of anchors and seals: never a reason to stop storing, every failure counted or told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import structlog

from vaultak.errors import VaultakError
from vaultak_devstack.keys import load_or_create_key
from vaultak_streams.audit.anchor_file import EVERY_S, AnchorFile
from vaultak_streams.audit.anchors import heads_of
from vaultak_streams.audit.seals import load_or_create_key as load_or_create_audit_key
from vaultak_streams.audit.seals import seal_block
from vaultak_streams.sink.batches import Block

log = structlog.get_logger("vaultak.anchors")


class Anchors:
    """Collects the heads of what is stored and anchors them. A file that cannot be written is tried again each time."""

    def __init__(self, data_dir: Path, *, every_s: float = EVERY_S) -> None:
        self._data_dir = data_dir
        self._every_s = every_s
        self._file: AnchorFile | None = None
        self.written = 0
        self.errors = 0
        self._open()

    def note(self, blocks: Iterable[Block]) -> None:
        """These blocks of `events_log` are stored."""
        if self._file is None:
            self._open()
        if self._file is not None:
            for block in blocks:
                self._file.note(heads_of(block))

    @property
    def due(self) -> bool:
        return self._file is not None and self._file.due

    def write(self) -> list[bytes]:
        """Anchor what was noted; returns the anchors. Blocks for as long as the disk takes."""
        if self._file is None:
            return []
        try:
            lines = self._file.write()
        except OSError as e:
            self._failed(e)
            return []
        self.written += len(lines)
        return lines

    @property
    def name(self) -> str:
        """Of the file, which is the key of its anchors on the topic."""
        return self._file.path.stem if self._file is not None else ""

    def close(self) -> None:
        """Anchor what is left, and leave the file to others."""
        self.write()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        try:
            self._file = AnchorFile(self._data_dir, load_or_create_key(self._data_dir), every_s=self._every_s)
        except (OSError, VaultakError) as e:
            self._failed(e)

    def _failed(self, error: Exception) -> None:
        self.errors += 1
        if self.errors.bit_count() == 1:  # the first, and ever more seldom
            log.error("chains are not anchored: a cut tail would not show", error=str(error), times=self.errors)


class Seals:
    """Seals verdicts. Without a key they stay unsealed, which a verification tells."""

    def __init__(self, data_dir: Path) -> None:
        self._key: bytes | None = None
        try:
            self._key = load_or_create_audit_key(data_dir)
        except (OSError, VaultakError) as e:
            log.error("verdicts are not sealed: editing one would not show", error=str(e))

    def sealed(self, block: Block) -> Block:
        """The block, with seals where it brings verdicts."""
        return block if self._key is None else seal_block(block, self._key)
