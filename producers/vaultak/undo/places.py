"""Where undo logs are: `undo/<agent>/<instance>` in the data directory, one log for each run of an agent."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path

from vaultak.undo.journal import Journal
from vaultak.undo.log import UndoLog

KEPT_DIRECTORIES = 8
"""Journals of earlier runs of the same agent that stay on disk, for a rollback after its end."""


def agent_directory(data_dir: Path, agent_id: str) -> Path:
    """An agent's logs. Ids may hold anything: a digest of the id is the name."""
    return data_dir / "undo" / hashlib.sha256(agent_id.encode()).hexdigest()[:16]


def ended_logs(data_dir: Path, agent_id: str) -> list[UndoLog]:
    """The logs that ended instances of an agent left on this machine, opened, newest first. Close them."""
    return orphans(agent_directory(data_dir, agent_id), agent_id)


def orphans(root: Path, agent_id: str) -> list[UndoLog]:
    """The logs under `root` (one directory per instance) that no living process holds, opened, newest first."""
    found: list[UndoLog] = []
    with contextlib.suppress(FileNotFoundError):
        directories = sorted((p for p in root.iterdir() if (p / "journal").is_file()), key=_age)
        for directory in directories:
            with contextlib.suppress(OSError):
                found.append(UndoLog(directory, agent_id))
    return found


def tidy(root: Path) -> None:
    """Keep the newest logs of ended instances, remove the others."""
    with contextlib.suppress(OSError):
        directories = sorted((p for p in root.iterdir() if (p / "journal").is_file()), key=_age)
        for directory in directories[KEPT_DIRECTORIES:]:
            with contextlib.suppress(OSError):
                Journal(directory).close()  # raises while its process lives
                shutil.rmtree(directory, ignore_errors=True)


def _age(directory: Path) -> float:
    return -(directory / "journal").stat().st_mtime
