"""What a worker can be told beside its settings."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vaultak.config import Settings


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Tuning of one worker process. The defaults are meant to be right."""

    number: int = 0
    """Of this worker on this machine: names its status file and its messages' source."""
    model: Path | None = None
    batch_records: int = 1000
    """At most this many records are judged in one step; fewer come when fewer wait, and none is waited for."""
    checkpoint_s: float = 1.0
    """Changed profiles are written and offsets committed this often, and at once after a command."""
    session_timeout_s: float | None = None
    """A worker that is silent for this long loses its partitions; `None`: 10, or 3 on the embedded broker."""
    instance_id: str = ""
    """A static member of the group: a restart within the session takes its partitions up again without a rebalance.
    Must differ between workers."""
    fetch_wait_ms: int | None = None
    """Longest wait of a fetch; `None`: 500, or 10 on the embedded broker, whose fetches are not woken by records."""

    @property
    def name(self) -> str:
        return f"worker-{self.number}"


def status_path(settings: Settings, number: int) -> Path:
    """Where a worker tells what it is doing, for `vaultak doctor`."""
    return settings.data_dir / "status" / f"worker-{number}.json"


def group_id(settings: Settings) -> str:
    """The consumer group of a deployment's workers."""
    return f"{settings.topics.prefix}.worker"


def changelog_topic(settings: Settings) -> str:
    """Where the state of every agent is kept: `<prefix>.worker-profiles-changelog`, compacted."""
    return f"{settings.topics.prefix}.worker-profiles-changelog"
