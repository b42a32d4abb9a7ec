"""The whole system on one machine: broker, ClickHouse, topics, then the given commands, supervised."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from vaultak.config import Settings
from vaultak.errors import ConfigurationError
from vaultak_devstack import backends
from vaultak_devstack.backends import BrokerChoice, ClickHouseChoice, Ports
from vaultak_devstack.clickhouse_config import Role
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_devstack.errors import DevstackError, StartTimeoutError
from vaultak_devstack.keys import load_or_create_key
from vaultak_devstack.lockfile import StackLock, StackState
from vaultak_devstack.restart import Backoff
from vaultak_devstack.supervised import ChildHealth, ChildSpec, ChildState, Supervised
from vaultak_devstack.topics import TopicReport, ensure_topics

POLL_S = 0.2
STOP_GRACE_S = 6.0
"""What worker and sink get to finish what they hold, all at the same time."""


class Stack:
    """Starts everything, keeps it running, stops it. Nothing listens beyond loopback.

    `broker`/`clickhouse`: `auto` uses what VAULTAK_BOOTSTRAP_SERVERS and VAULTAK_CLICKHOUSE_DSN name, else starts its
    own. `children` start in order once broker, ClickHouse and topics are there. They find them by
    VAULTAK_BOOTSTRAP_SERVERS, VAULTAK_CLICKHOUSE_DSN, VAULTAK_DATA_DIR, VAULTAK_TOPIC_PREFIX and VAULTAK_BROKER
    (`embedded`, `kafka`, `external`). `migrate` is called with an administrator's DSN before they start. `report` gets
    a line whenever something needs saying.

    Guarantees: one stack a data directory; after `stop`, after an exception in `start`, and when this process dies,
    however it dies, none of its processes is left.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        broker: BrokerChoice = "auto",
        clickhouse: ClickHouseChoice = "auto",
        children: Sequence[ChildSpec] = (),
        ports: Ports | None = None,
        migrate: Callable[[str], object] | None = None,
        report: Callable[[str], object] = lambda _line: None,
    ) -> None:
        self.settings = settings
        self._report = report
        self._migrate = migrate
        ports = ports or Ports.from_env()
        log_dir = settings.data_dir / "logs"
        self.broker = backends.make_broker(settings, broker, ports, log_dir)
        self.clickhouse = backends.make_clickhouse(settings, clickhouse, ports, log_dir)
        self.topics: TopicReport | None = None
        self._log_dir = log_dir
        self._specs = tuple(children)
        self._children: tuple[Supervised, ...] = ()
        self._own_backoff = {"broker": Backoff(), "clickhouse": Backoff()}
        self._lock = StackLock(settings.data_dir)
        self._mutex = threading.RLock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self._started_at = ""
        self._saved: StackState | None = None
        self.failure: str | None = None
        """Why the stack gave up; None while it did not."""

    def start(self) -> None:
        """Start all and begin to supervise. Raises `StackRunsError` when one runs already, `DevstackError` with one
        clear line, `ConfigurationError`; whatever had started is stopped again.
        """
        self._lock.acquire()
        try:
            self._start_parts()
        except BaseException:
            self.stop()
            raise
        self._watcher = threading.Thread(target=self._watch, name="vaultak-stack", daemon=True)
        self._watcher.start()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until every child runs and has written its `ready_file`. Raises `StartTimeoutError`, `DevstackError`."""
        deadline = time.monotonic() + timeout_s
        while any(child.state is not ChildState.RUNNING for child in self.health()):
            if self.failure:
                raise DevstackError(self.failure)
            if time.monotonic() > deadline:
                slow = ", ".join(h.detail or h.name for h in self.health() if h.state is not ChildState.RUNNING)
                raise StartTimeoutError(f"not ready after {timeout_s:.0f} s: {slow}; logs in `{self._log_dir}`")
            self._stopping.wait(0.05)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until somebody asks it to stop, or it gave up (see `failure`). False when the time ran out."""
        return self._stopping.wait(timeout_s)

    def request_stop(self) -> None:
        """Make `wait` return. Safe in a signal handler."""
        self._stopping.set()

    @contextlib.contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """Within: Ctrl-C and SIGTERM ask it to stop; a second one kills everything at once. Main thread only."""

        def handle(_number: int, _frame: object) -> None:
            if self._stopping.is_set():
                self.kill()
            self.request_stop()

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Children first, all at the same time, then ClickHouse and the broker. A few seconds at most. Idempotent."""
        self._stopping.set()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()
        with self._mutex:
            for child in self._children:
                child.ask_to_stop()
            deadline = time.monotonic() + STOP_GRACE_S
            for child in reversed(self._children):
                child.stop(max(0.1, deadline - time.monotonic()))
            if isinstance(self.clickhouse, ClickHouseServer):
                self.clickhouse.stop()
            self.broker.stop()
            self._lock.release()

    def kill(self) -> None:
        """kill -9 for everything that this stack started."""
        self._stopping.set()
        for child in self._children:
            child.kill()
        if isinstance(self.clickhouse, ClickHouseServer):
            self.clickhouse.kill()
        self.broker.kill()

    def health(self) -> tuple[ChildHealth, ...]:
        """How each child does, in their order."""
        return tuple(child.health for child in self._children)

    def clickhouse_dsn(self, role: Role = "viewer") -> str:
        """The DSN of a role on the stack's own server; on an external one, the one that was given."""
        return self.clickhouse if isinstance(self.clickhouse, str) else self.clickhouse.dsn(role)

    def child_env(self, role: Role = "writer") -> dict[str, str]:
        """What a process needs in its environment to find this stack."""
        return {
            "VAULTAK_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "VAULTAK_CLICKHOUSE_DSN": self.clickhouse_dsn(role),
            "VAULTAK_DATA_DIR": str(self.settings.data_dir),
            "VAULTAK_TOPIC_PREFIX": self.settings.topics.prefix,
            "VAULTAK_BROKER": self.broker.kind,
        }

    def state(self) -> StackState:
        """What runs, as other commands will find it (with a reader's DSN)."""
        own = isinstance(self.clickhouse, ClickHouseServer)
        pids = {h.name: h.pid for h in self.health() if h.pid is not None}
        pids |= {f"broker-{i}" if i else "broker": pid for i, pid in enumerate(self.broker.pids)}
        addresses = {"kafka": self.broker.bootstrap_servers}
        if isinstance(self.clickhouse, ClickHouseServer):
            if own_pids := self.clickhouse.pids:
                pids["clickhouse"] = own_pids[0]
            addresses["clickhouse"] = f"http://127.0.0.1:{self.clickhouse.http_port}"
            addresses["clickhouse-native"] = f"127.0.0.1:{self.clickhouse.tcp_port}"
        return StackState(
            pid=os.getpid(),
            started_at=self._started_at,
            broker=self.broker.kind,
            bootstrap_servers=self.broker.bootstrap_servers,
            clickhouse="embedded" if own else "external",
            clickhouse_dsn=self.clickhouse_dsn(),
            topic_prefix=self.settings.topics.prefix,
            pids=pids,
            addresses=addresses,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_parts(self) -> None:
        self._started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        load_or_create_key(self.settings.data_dir)
        self.broker.start()
        if isinstance(self.clickhouse, ClickHouseServer):
            self.clickhouse.start()
        for part in self._own_backoff.values():
            part.started(time.monotonic())
        self._make_topics()
        if self._migrate is not None:
            self._migrate(self.clickhouse_dsn("admin"))
        self._children = tuple(
            Supervised(spec, self.child_env(spec.clickhouse_role), self._log_dir) for spec in self._specs
        )
        for child in self._children:
            _start_child(child)
        self._save()

    def _make_topics(self) -> None:
        ensure = ensure_topics(self.broker.bootstrap_servers, self.settings.topics.prefix, self.settings.kafka_security)
        with ThreadPoolExecutor(1) as apart:  # whoever starts the stack may be inside an event loop
            self.topics = apart.submit(asyncio.run, ensure).result()
        for line in self.topics.mismatches:
            self._report(line)

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_S):
            with self._mutex:
                try:
                    self._look_after_parts()
                except (DevstackError, OSError) as e:
                    self._give_up(str(e))

    def _look_after_parts(self) -> None:
        if isinstance(self.clickhouse, ClickHouseServer) and not self.clickhouse.running:
            self._revive("clickhouse", self.clickhouse)
        if self.broker.kind != "external" and not self.broker.running:
            self._revive("broker", self.broker)
            if self.broker.kind == "embedded":
                self._report("the embedded broker keeps nothing on disk: events that had not been stored are gone")
                self._make_topics()
                for child in self._children:  # their offsets belong to the old one
                    child.restart()
        for child in self._children:
            if line := child.poll():
                self._report(line)
            if child.health.state is ChildState.FAILED:
                return self._give_up(child.health.detail)
        return self._save()

    def _revive(self, name: str, part: backends.Restartable) -> None:
        delay_s = self._own_backoff[name].ended(time.monotonic())
        self._report(f"{name} ended; starting it again in {delay_s:.1f} s")
        if not self._stopping.wait(delay_s):
            part.kill()  # forget the old process
            part.start()
            self._own_backoff[name].started(time.monotonic())

    def _give_up(self, reason: str) -> None:
        self.failure = reason
        self._stopping.set()

    def _save(self) -> None:
        state = self.state()
        if state != self._saved:
            state.save(self.settings.data_dir)
            self._saved = state


def _start_child(child: Supervised) -> None:
    try:
        child.start()
    except OSError as e:
        raise ConfigurationError(f"cannot start `{child.spec.command[0]}` ({child.spec.name}): {e.strerror}") from None
