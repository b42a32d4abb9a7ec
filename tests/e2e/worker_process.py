"""A worker in a process of its own, and the topics around it, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from vaultak.config import Settings
from vaultak.policy import PolicySettings
from vaultak.wire import Topics
from vaultak_streams.agents.options import status_path
from vaultak_streams.agents.status import WorkerStatus, read_status
from vaultak_streams.replay import replay

START_TIMEOUT_S = 60.0


class WorkerProcess:
    """`python -m vaultak_streams.agents.worker`, as `vaultak up` runs it."""

    def __init__(self, bootstrap_servers: str, topics: Topics, data_dir: Path, number: int = 0) -> None:
        self.number = number
        self.settings = Settings(
            bootstrap_servers=bootstrap_servers, topics=topics, data_dir=data_dir, spool_dir=data_dir / "spool"
        )
        self.log_path = data_dir / f"worker-{number}.log"
        self._env = {
            **os.environ,
            "VAULTAK_BOOTSTRAP_SERVERS": bootstrap_servers,
            "VAULTAK_TOPIC_PREFIX": topics.prefix,
            "VAULTAK_DATA_DIR": str(data_dir),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vaultak_streams.agents.worker", "--number", str(self.number)],
                env=self._env,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    @property
    def status(self) -> WorkerStatus | None:
        """What the running process says of itself; `None` before it said anything."""
        found = read_status(status_path(self.settings, self.number))
        return found if found and self._process and found.pid == self._process.pid else None

    @property
    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    async def until(
        self, condition: Callable[[WorkerStatus], bool], timeout_s: float = START_TIMEOUT_S
    ) -> WorkerStatus:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if (status := self.status) and condition(status):
                return status
            await asyncio.sleep(0.02)
        raise AssertionError(f"not within {timeout_s} s; status {self.status}; log:\n{self.log[-3000:]}")


@contextlib.contextmanager
def running_worker(bootstrap_servers: str, topics: Topics, data_dir: Path, number: int = 0) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(bootstrap_servers, topics, data_dir, number)
    worker.start()
    try:
        yield worker
    finally:
        worker.kill()


EVAL = Path(os.environ.get("VAULTAK_EVAL_DIR", Path(__file__).parents[3] / "shared" / "eval")) / "agentdojo"
HISTORY, TEST = EVAL / "slack.history.jsonl.gz", EVAL / "slack.test.jsonl.gz"

needs_recordings = pytest.mark.skipif(
    not HISTORY.exists(), reason="no recorded runs: set VAULTAK_EVAL_DIR to the directory that holds `agentdojo`"
)


def recorded(path: Path) -> list[bytes]:
    return gzip.open(path).read().splitlines()


def replayed(lines: list[bytes], directory: Path) -> dict[str, dict[str, Any]]:
    """Replay's verdicts by action, in order, without `scored_ts`."""
    recording, verdicts = directory / "recording.jsonl", directory / "verdicts.jsonl"
    recording.write_bytes(b"\n".join(lines))
    replay(history=None, input=recording, output=verdicts, policy=PolicySettings())
    return {(v := timeless(line))["action_id"]: v for line in verdicts.read_bytes().splitlines()}


def timeless(value: bytes) -> dict[str, Any]:
    """A verdict without the time at which it was given."""
    verdict: dict[str, Any] = json.loads(value)
    del verdict["scored_ts"]
    return verdict


async def publish(bootstrap_servers: str, topic: str, messages: Iterable[tuple[bytes | None, bytes]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, max_request_size=4 << 20)
    await producer.start()
    try:
        for key, value in messages:
            await producer.send(topic, value, key=key)
    finally:
        await producer.stop()


def keyed(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return ((json.loads(line)["agent_id"].encode(), line) for line in lines)


@contextlib.asynccontextmanager
async def reader(bootstrap_servers: str, *topics: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", fetch_max_wait_ms=10
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_until(
    consumer: AIOKafkaConsumer, done: Callable[[list[ConsumerRecord[Any, Any]]], bool], timeout_s: float = 60.0
) -> list[ConsumerRecord[Any, Any]]:
    """Records from here on, until `done` says so; fails when the time is up."""
    found: list[ConsumerRecord[Any, Any]] = []
    deadline = time.monotonic() + timeout_s
    while not done(found):
        if time.monotonic() > deadline:
            raise AssertionError(f"only {len(found)} records within {timeout_s} s")
        for records in (await consumer.getmany(timeout_ms=200)).values():
            found += records
    return found
