"""A broker that somebody else runs: the stack uses it and leaves it alone."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from vaultak_devstack.errors import DevstackError
from vaultak_devstack.kafka_probe import reachable


class ExternalBroker:
    """An existing cluster at `bootstrap_servers` (`secured`: over TLS). `stop` and `kill` do nothing."""

    kind = "external"

    def __init__(self, bootstrap_servers: str, *, secured: bool = False) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._secured = secured

    @property
    def bootstrap_servers(self) -> str:
        return self._bootstrap_servers

    @property
    def running(self) -> bool:
        """Whether one of its brokers can be reached; over TLS, whether the port is open."""
        return reachable(self._bootstrap_servers, port_only=self._secured)

    @property
    def pids(self) -> tuple[int, ...]:
        return ()

    def start(self) -> None:
        """Make sure that it can be reached. Raises `DevstackError`."""
        if not self.running:
            raise DevstackError(
                f"no Kafka broker answers at `{self._bootstrap_servers}`; check VAULTAK_BOOTSTRAP_SERVERS, or unset it"
                " to have a local one"
            )

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
