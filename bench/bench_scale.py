"""Two workers beside one: actions a second, and how much processor each action takes in worker and broker.

A backlog is there before the workers are; what is counted begins when every worker has its partitions and ends when
six tenths are judged: all are busy then. Two workers and the broker share the machine's cores: the processor time for
each action says what a second machine would give. `VAULTAK_TEST_BROKER=kafka` for Apache Kafka.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path

import msgspec

from bench import bench_stream as stream
from bench.timing import processor_s, say, table
from vaultak.config import Settings
from vaultak.wire import Topics
from vaultak_devstack.broker import Broker
from vaultak_streams.agents.options import status_path
from vaultak_streams.agents.status import read_status

EVENTS = 150_000
ROUNDS = 3
UNTIL = 0.6
WORKERS = (1, 2)


class Round(msgspec.Struct):
    per_s: float
    worker_us: float
    """Processor time of all workers together, for each action."""
    broker_us: float


def main() -> None:
    stream.EVENTS = EVENTS
    with tempfile.TemporaryDirectory() as directory, stream.broker_of(Path(directory)) as broker:
        rounds: dict[int, list[Round]] = {n: [] for n in WORKERS}
        for turn in range(ROUNDS):
            for n in WORKERS if turn % 2 == 0 else reversed(WORKERS):
                rounds[n].append(asyncio.run(_round(broker, Path(directory), n)))
    one = statistics.median(r.per_s for r in rounds[1])
    say(f"broker: {broker.kind}; {EVENTS:,} actions, {os.cpu_count()} cores, medians of {ROUNDS}")
    table(
        "workers side by side",
        ["workers", "actions/s", "of one", "worker us/action", "broker us/action"],
        [
            [
                n,
                round(statistics.median(r.per_s for r in found)),
                f"{statistics.median(r.per_s for r in found) / one:.2f}",
                statistics.median(r.worker_us for r in found),
                statistics.median(r.broker_us for r in found),
            ]
            for n, found in rounds.items()
        ],
    )


async def _round(broker: Broker, directory: Path, workers: int) -> Round:
    topics = await stream.filled(broker)
    with contextlib.ExitStack() as stack:
        processes = []
        for n in range(workers):
            env = {"VAULTAK_DATA_DIR": str(directory / topics.prefix / str(n))}
            processes.append(stack.enter_context(stream.worker(broker, topics, directory, **env)))
        await _all_have_partitions(topics, directory, workers, broker)
        async with stream.reader(broker, topics.verdicts) as verdicts:

            async def at_least(wanted: float) -> int:
                while True:
                    judged = sum((await verdicts.end_offsets(verdicts.assignment())).values())
                    if judged >= wanted:
                        return judged
                    await asyncio.sleep(stream.LOOK_EVERY_S)

            first = await at_least(1)
            pids = [process.pid for process in processes]
            started, cpu = time.perf_counter(), (processor_s(pids), processor_s(broker.pids))
            n = await at_least(EVENTS * UNTIL) - first
            took = time.perf_counter() - started
        spent = (processor_s(pids) - cpu[0], processor_s(broker.pids) - cpu[1])
    return Round(n / took, spent[0] / n * 1e6, spent[1] / n * 1e6)


async def _all_have_partitions(topics: Topics, directory: Path, workers: int, broker: Broker) -> None:
    """Each has some, and no partition is with two."""
    while True:
        held: list[list[int]] = []
        for n in range(workers):
            env = {
                "VAULTAK_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
                "VAULTAK_TOPIC_PREFIX": topics.prefix,
                "VAULTAK_DATA_DIR": str(directory / topics.prefix / str(n)),
            }
            status = read_status(status_path(Settings.from_env(env), 0))
            held.append(status.partitions if status and status.state == "running" else [])
        flat = [partition for partitions in held for partition in partitions]
        if all(held) and len(flat) == len(set(flat)):
            return
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    main()
