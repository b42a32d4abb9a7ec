"""The worker beside the same scoring step under other stream processors: quixstreams, bytewax, a loop of aiokafka's.

Same broker, same data, one process each, one after the other, all from the first verdict to the last by the broker's
clock. `VAULTAK_TEST_BROKER=kafka` runs it on Apache Kafka; `VAULTAK_BENCH_PEERS` names a Python that has bytewax and
quixstreams besides this package (`pip install --group peers`). What is not installed is left out, and said.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.bench_stream import EVENTS, broker_of, filled, rate_of_verdicts, worker
from bench.timing import say, table
from vaultak.wire import Topics
from vaultak_devstack.broker import Broker

ROUNDS = 3
HOSTS = {"aiokafka, a plain loop": "plain", "quixstreams": "quix", "bytewax": "bytewax_flow"}
NEEDS = {"quix": "quixstreams", "bytewax_flow": "bytewax"}
ROOT = Path(__file__).parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, broker_of(Path(directory)) as broker:
        asyncio.run(_run(broker, Path(directory)))


async def _run(broker: Broker, directory: Path) -> None:
    say(f"broker: {broker.kind}; {EVENTS:,} events, medians of {ROUNDS}")
    python = os.environ.get("VAULTAK_BENCH_PEERS", sys.executable)
    hosts = {name: module for name, module in HOSTS.items() if _has(python, NEEDS.get(module))}
    if missing := HOSTS.keys() - hosts.keys():
        say(f"not installed, left out: {', '.join(sorted(missing))}")
    rates: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, module in hosts.items():
            topics = await filled(broker)
            with _host(python, module, broker, topics, directory):
                rates.setdefault(name, []).append(await rate_of_verdicts(broker, topics))
        topics = await filled(broker)
        with worker(broker, topics, directory):
            rates.setdefault("the worker, state and offsets durable", []).append(await rate_of_verdicts(broker, topics))
    base = statistics.median(rates["aiokafka, a plain loop"])
    table(
        "judging, one process",
        ["host", "events/s", "least", "most", "of the plain loop"],
        [
            [name, statistics.median(of), min(of), max(of), f"{statistics.median(of) / base:.2f}"]
            for name, of in rates.items()
        ],
    )


def _has(python: str, package: str | None) -> bool:
    command = [python, "-W", "ignore", "-c", f"import {package}"]
    return package is None or subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def _host(python: str, module: str, broker: Broker, topics: Topics, directory: Path) -> Iterator[None]:
    command = [python, "-W", "ignore", "-m", f"bench.hosts.{module}", broker.bootstrap_servers, topics.prefix]
    process = subprocess.Popen([*command, str(directory)], stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()
