"""Where undo logs are: `undo/<agent>/<instance>` in the data directory, one log for each run of an agent."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vaultak.undo.log import UndoLog, orphans


def agent_directory(data_dir: Path, agent_id: str) -> Path:
    """An agent's logs. Ids may hold anything: a digest of the id is the name."""
    return data_dir / "undo" / hashlib.sha256(agent_id.encode()).hexdigest()[:16]


def ended_logs(data_dir: Path, agent_id: str) -> list[UndoLog]:
    """The logs that ended instances of an agent left on this machine, opened, newest first. Close them."""
    return orphans(agent_directory(data_dir, agent_id), agent_id)
