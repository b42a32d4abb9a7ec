"""The last back-test, kept beside the rest of the local state for whoever looks at the policy next."""

from __future__ import annotations

import datetime as dt
import logging
from pathlib import Path

import msgspec

from vaultak_streams.backtest.report import Report
from vaultak_streams.replay import atomic_output

log = logging.getLogger(__name__)

_NAME = "last-backtest.json"
_MAX_BYTES = 4 * 1024 * 1024
_MAX_CHANGES = 50


class Remembered(msgspec.Struct, frozen=True):
    """A report, and when it was made (UTC)."""

    at: dt.datetime
    report: Report


def remember(folder: Path, report: Report) -> None:
    """Keep the report, its heaviest changes only. A folder that cannot be written is logged, no more."""
    kept = msgspec.structs.replace(report, changes=report.changes[:_MAX_CHANGES])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_output(folder / _NAME, mode=0o600) as out:
            out.write(msgspec.json.encode(Remembered(dt.datetime.now(dt.UTC), kept)))
    except OSError as e:
        log.warning("the back-test is not remembered: %s", e)


def last_backtest(folder: Path) -> Remembered | None:
    """The one kept last; `None` when there is none that can be read."""
    try:
        with (folder / _NAME).open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_BYTES), type=Remembered)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
