"""How long others wait while an agent is paused, and how long a killed one goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.timing import Sample, compare, table
from vaultak import AgentKilledError, Monitor, Vaultak
from vaultak.config import Settings
from vaultak.testing import RecordingPublisher
from vaultak.wire import AgentState

PAUSE_S = 0.5
TICK_S = 0.002
ROUNDS = 15


def main() -> None:
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings.from_env({"VAULTAK_DATA_DIR": directory})
        with Vaultak(publisher=RecordingPublisher(), settings=settings, max_risk_score=1.0, rollback_limit=0) as vt:
            asyncio.run(_pauses(vt, Path(directory)))
            _kills(vt)


def _set(monitor: Monitor, state: AgentState) -> None:
    monitor._agent._set_state(state, "benchmark")


async def _pauses(vt: Vaultak, directory: Path) -> None:
    """Gaps between the turns of a task that wants one every 2 ms."""

    async def ticks(until: asyncio.Event) -> Sample:
        gaps, last = [], time.perf_counter()
        while not until.is_set():
            await asyncio.sleep(TICK_S)
            now = time.perf_counter()
            gaps.append((now - last) * 1e6)
            last = now
        return Sample("", sorted(gaps))

    async def beside(name: str, work: Callable[[], object]) -> Sample:
        over = asyncio.Event()
        ticking = asyncio.create_task(ticks(over))
        await asyncio.sleep(0.02)
        work()
        await asyncio.sleep(0.02)
        over.set()
        return Sample(name, (await ticking).values_us)

    def paused_open() -> None:
        _set(monitor, AgentState.PAUSED)
        threading.Timer(PAUSE_S, _set, (monitor, AgentState.RUNNING)).start()
        open(directory / "file", "w").close()

    samples = []
    async with vt.monitor("paused") as monitor:
        samples.append(await beside("no pause", lambda: None))
        samples.append(await beside("open() blocked for 0.5 s", lambda: time.sleep(PAUSE_S)))
        samples.append(await beside("open() paused for 0.5 s", paused_open))
    compare("stop: gaps of another task on the loop", samples, baseline="no pause")
    table("stop: the longest gap", ["case", "ms"], [[s.name, round(s.values_us[-1] / 1000, 1)] for s in samples])


def _kills(vt: Vaultak) -> None:
    cases: dict[str, Callable[[Vaultak, str], float]] = {
        "a thread that computes": _thread,
        "a thread of a host's pool": _pooled,
        "a task that sleeps": _task,
        "a child and its child": _child,
    }
    samples = []
    for name, case in cases.items():
        values = [case(vt, f"{name} {n}") * 1e6 for n in range(ROUNDS)]
        samples.append(Sample(name, sorted(values)))
    compare("stop: from kill to ended", samples, baseline="a thread that computes")


def _thread(vt: Vaultak, agent_id: str) -> float:
    def works() -> None:
        with contextlib.suppress(AgentKilledError), vt.monitor(agent_id):
            while True:
                with contextlib.suppress(Exception):
                    sum(range(1000))

    thread = threading.Thread(target=works)
    thread.start()
    time.sleep(0.02)
    start = time.perf_counter()
    _set(vt.monitor(agent_id), AgentState.KILLED)
    thread.join()
    return time.perf_counter() - start


def _pooled(vt: Vaultak, agent_id: str) -> float:
    def works() -> None:
        while True:
            with contextlib.suppress(Exception):
                sum(range(1000))

    with ThreadPoolExecutor(1) as pool:
        with vt.monitor(agent_id) as monitor:
            future = pool.submit(works)
        time.sleep(0.02)
        start = time.perf_counter()
        _set(monitor, AgentState.KILLED)
        future.exception()
        return time.perf_counter() - start


def _task(vt: Vaultak, agent_id: str) -> float:
    async def run() -> float:
        async def works() -> None:
            async with vt.monitor(agent_id):
                while True:
                    with contextlib.suppress(Exception):
                        await asyncio.sleep(1)

        task = asyncio.create_task(works())
        await asyncio.sleep(0.02)
        start = time.perf_counter()
        _set(vt.monitor(agent_id), AgentState.KILLED)
        await asyncio.wait([task])
        return time.perf_counter() - start

    return asyncio.run(run())


def _child(vt: Vaultak, agent_id: str) -> float:
    with vt.monitor(agent_id) as monitor:
        child = subprocess.Popen(["sh", "-c", "sleep 100 & sleep 100"], start_new_session=True)
    time.sleep(0.02)
    start = time.perf_counter()
    _set(monitor, AgentState.KILLED)
    child.wait()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
