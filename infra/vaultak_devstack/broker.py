"""What every broker that the stack can start has in common."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class Broker(Protocol):
    """A Kafka-compatible broker on this machine, reachable on loopback only."""

    kind: str
    """`embedded`, `kafka` or `external`."""

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`, several separated by commas."""

    @property
    def running(self) -> bool: ...

    @property
    def pids(self) -> tuple[int, ...]: ...

    def start(self) -> None:
        """Start and wait until it answers. Raises `DevstackError` with one clear line."""

    def stop(self) -> None:
        """Stop gently. Idempotent."""

    def kill(self) -> None:
        """kill -9, for tests of what survives it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
