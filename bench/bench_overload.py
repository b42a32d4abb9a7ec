"""More than a worker can judge: what waits, what memory it takes, and how long an operator's order takes meanwhile.

Real parts: the broker of `VAULTAK_TEST_BROKER`, a worker process, an agent's control listener. The events are there
before the worker is, more than it can judge while the orders are timed. In the end all are judged, each once.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench import bench_stream as stream
from bench.timing import Sample, compare, say, table
from vaultak.config import Settings
from vaultak.control import ControlListener
from vaultak.emitter import new_instance
from vaultak.publish import Publisher
from vaultak.wire import AckResult, Command, CommandType, Topics, decode_verdict
from vaultak_devstack.broker import Broker
from vaultak_devstack.keys import command_signer
from vaultak_streams.operate import send_command

BACKLOG = 150_000
ORDERS = 12
AGENT = "bench-operated"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, stream.broker_of(Path(directory)) as broker:
        asyncio.run(_run(broker, Path(directory)))


async def _run(broker: Broker, directory: Path) -> None:
    stream.EVENTS = BACKLOG
    topics = await stream.filled(broker)
    settings = Settings.from_env(
        {
            "VAULTAK_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "VAULTAK_TOPIC_PREFIX": topics.prefix,
            "VAULTAK_DATA_DIR": str(directory / "data"),
        }
    )
    command_signer(settings.data_dir)  # the deployment's key, before anyone looks for it
    publisher = Publisher(settings)
    agent = _Agent()
    listener = ControlListener(settings, AGENT, new_instance(), agent.obey, lambda _record: None, publisher)
    listener.start()
    await asyncio.to_thread(listener.wait_ready, 10)
    idle = await _orders(settings, agent, "nothing to judge")
    with stream.worker(broker, topics, directory) as process:
        await _until(lambda judged: judged > 0, broker, topics)
        before, memory = await _judged(broker, topics), [_resident_mib(process)]
        busy = await _orders(settings, agent, "a worker far behind", lambda: memory.append(_resident_mib(process)))
        behind = BACKLOG - await _judged(broker, topics)
        await _until(lambda judged: judged >= BACKLOG, broker, topics, lambda: memory.append(_resident_mib(process)))
    listener.stop()
    publisher.close()
    once = await _judged_once(broker, topics)
    compare("an operator's order until the agent has applied it, us", [idle, busy], baseline=idle.name)
    table(
        f"a backlog of {BACKLOG:,} actions",
        ["judged before the orders", "waiting after them", "worker MiB", "at most", "judged once", "lost or twice"],
        [[before, behind, memory[0], max(memory), once, BACKLOG - once]],
    )
    if behind <= 0:
        say("the backlog was gone before the orders were: a larger one is needed")
    if once != BACKLOG:
        sys.exit(1)


class _Agent:
    """Answers every order, and knows when it came."""

    def __init__(self) -> None:
        self.applied_at: dict[str, float] = {}

    def obey(self, command: Command) -> tuple[AckResult, str]:
        self.applied_at[command.command_id] = time.perf_counter()
        return AckResult.APPLIED, ""


async def _orders(settings: Settings, agent: _Agent, name: str, each: Callable[[], object] = lambda: None) -> Sample:
    """From the call that sends an order, its connections included, until the agent has applied it."""
    sign, values = command_signer(settings.data_dir), []
    for n in range(ORDERS):
        order = CommandType.PAUSE if n % 2 == 0 else CommandType.RESUME
        started = time.perf_counter()
        sent = await send_command(settings, sign, AGENT, order, ack_timeout_s=10)
        values.append((agent.applied_at[sent.command.command_id] - started) * 1e6)
        each()
    return Sample(name, sorted(values))


async def _judged(broker: Broker, topics: Topics) -> int:
    async with stream.reader(broker, topics.verdicts) as verdicts:
        return sum((await verdicts.end_offsets(verdicts.assignment())).values())


async def _until(
    enough: Callable[[int], bool], broker: Broker, topics: Topics, each: Callable[[], object] = lambda: None
) -> None:
    while not enough(await _judged(broker, topics)):
        each()


async def _judged_once(broker: Broker, topics: Topics) -> int:
    """Actions with exactly one verdict."""
    found: Counter[str] = Counter()
    async with stream.reader(broker, topics.verdicts) as verdicts:
        while batch := await verdicts.getmany(timeout_ms=1000):
            found.update(decode_verdict(r.value).action_id for records in batch.values() for r in records)
    return sum(count == 1 for count in found.values())


def _resident_mib(process: subprocess.Popen[bytes]) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024
