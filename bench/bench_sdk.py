"""What the SDK costs the agent's own thread, beside what each step would cost without it."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer

from bench.timing import compare, time_each, time_loop
from vaultak import ActionType, Monitor, OutcomeStatus, PolicySettings, Vaultak
from vaultak.config import Settings
from vaultak.policy import CompiledPolicy
from vaultak.publish import Publisher
from vaultak.wire import Topics, ce_headers
from vaultak_devstack.broker_embedded import EmbeddedBroker
from vaultak_devstack.topics import ensure_topics

N = 5000
READ = ActionType.FILE_READ
PAYLOAD = {"op": "open", "mode": "r"}
VALUE = b'{"agent_id":"a","resource":"%b"}' % (b"x" * 400)
DISTINCT = 20_000
"""More resources than any cache holds: the cost of one that has not been seen before."""


def patterns(count: int) -> tuple[str, ...]:
    shapes = ("*.env{}", "prod{}.*", "/srv/secret{}/*", "db://pg/crm{}/*", "https://api{}.example.com/*")
    return tuple(shapes[n % len(shapes)].format(n) for n in range(count))


class _Nowhere:
    """A publisher that drops everything: the cost of judging and writing an event alone."""

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None: ...

    def flush(self, timeout_s: float) -> bool:
        return True

    def close(self, timeout_s: float) -> None: ...


def main() -> None:
    logging.disable(logging.WARNING)
    local_verdict()
    with tempfile.TemporaryDirectory() as directory, _broker(Path(directory)) as servers:
        settings = Settings(
            bootstrap_servers=servers,
            topics=Topics(),
            data_dir=Path(directory),
            spool_dir=Path(directory) / "spool",
        )
        check_and_publish(settings)
        spool(settings)


@contextmanager
def _broker(directory: Path) -> Iterator[str]:
    broker = EmbeddedBroker(log_dir=directory)
    broker.start()
    try:
        asyncio.run(ensure_topics(broker.bootstrap_servers, Topics().prefix))
        yield broker.bootstrap_servers
    finally:
        broker.stop()


def local_verdict() -> None:
    samples = [time_loop("a look-up in a dictionary", _lookup(), N)]
    for count in (10, 200):
        judge = CompiledPolicy(PolicySettings(blocked_resources=patterns(count))).evaluate
        samples.append(
            time_loop(f"{count} patterns, resource seen before", lambda j=judge: j(READ, "/tmp/a/b.txt", 1), N)
        )
        fresh = (f"/tmp/{count}/{n}.txt" for n in range(10**9))
        samples.append(
            time_loop(f"{count} patterns, new resource", lambda j=judge, f=fresh: j(READ, next(f), 1), DISTINCT)
        )
    compare("Local verdict", samples, baseline="a look-up in a dictionary")


def _lookup():  # type: ignore[no-untyped-def]
    known = {"/tmp/a/b.txt": None}
    return lambda: known["/tmp/a/b.txt"]


def check_and_publish(settings: Settings) -> None:
    queue: deque[bytes] = deque(maxlen=1000)
    samples = [time_each("bare deque append", lambda: queue.append(VALUE), N), _bare_producer(settings)]
    with Vaultak(settings=settings, publisher=_Nowhere(), rollback_limit=0, blocked_resources=patterns(200)) as vt:
        samples += _costs("judged and written, not sent: ", vt.monitor("a", intercept=False))
    with Vaultak(settings=settings, rollback_limit=0, blocked_resources=patterns(200)) as vt:
        samples += _costs("", vt.monitor("a", intercept=False))
        vt.flush(30)
    compare("An action on the agent's thread", samples, baseline=samples[1].name)


def _costs(prefix: str, m: Monitor):  # type: ignore[no-untyped-def]
    verdict = m.check(READ, "/tmp/a/b.txt", PAYLOAD)
    return [
        time_each(f"{prefix}check", lambda: m.check(READ, "/tmp/a/b.txt", PAYLOAD), N),
        time_each(f"{prefix}before", lambda: m.before(READ, "/tmp/a/b.txt", PAYLOAD), N),
        time_each(f"{prefix}after", lambda: m.after(verdict.action_id, OutcomeStatus.OK, duration_ms=1.0), N),
    ]


def _bare_producer(settings: Settings):  # type: ignore[no-untyped-def]
    """What an agent would pay that hands its events to aiokafka's loop by itself."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def connect() -> AIOKafkaProducer:
        producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all")
        await producer.start()
        return producer

    producer = asyncio.run_coroutine_threadsafe(connect(), loop).result(10)
    topic = settings.topics.actions
    try:
        return time_each(
            "bare run_coroutine_threadsafe(producer.send)",
            lambda: asyncio.run_coroutine_threadsafe(producer.send(topic, VALUE, key=b"a"), loop),
            N,
        )
    finally:
        asyncio.run_coroutine_threadsafe(producer.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def spool(settings: Settings) -> None:
    publisher = Publisher(settings)
    headers = ce_headers("action", "id", "/agents/a", "2026-01-01T00:00:00.000000Z")
    queue: deque[bytes] = deque(maxlen=1000)
    samples = [
        time_each("bare deque append", lambda: queue.append(VALUE), N),
        time_each("emit into the spool", lambda: publisher.emit(settings.topics.actions, b"a", VALUE, headers), N),
    ]
    publisher.close(30)
    compare("Emit alone", samples, baseline="bare deque append")
