"""A worker thread serves whoever has work: it works for each under their own name, and outlives the kill of any."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from sdk.intercept.recorder import Recorder, governed
from vaultak import AgentKilledError, Vaultak
from vaultak.config import Settings
from vaultak.testing import RecordingPublisher
from vaultak.wire import AgentState

Job = Callable[[], object]
Run = Callable[[Job], object]
WAIT_S = 20.0


@contextlib.contextmanager
def executor() -> Iterator[Run]:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        yield lambda job: pool.submit(job).result(WAIT_S)


@contextlib.contextmanager
def thread_pool() -> Iterator[Run]:
    with ThreadPool(1) as pool:
        yield pool.apply


@contextlib.contextmanager
def executor_of_a_loop() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
        yield lambda job: runner.run(asyncio.to_thread(job))


@contextlib.contextmanager
def worker_of_anyio() -> Iterator[Run]:
    with anyio.from_thread.start_blocking_portal() as portal:
        one = portal.call(anyio.CapacityLimiter, 1)

        async def run(job: Job) -> object:
            return await anyio.to_thread.run_sync(job, limiter=one)

        yield lambda job: portal.call(run, job)


@contextlib.contextmanager
def worker_of_trio() -> Iterator[Run]:
    trio = pytest.importorskip("trio")
    importlib.import_module("trio.to_thread")
    yield lambda job: trio.run(trio.to_thread.run_sync, job)


WORKERS = [executor, thread_pool, executor_of_a_loop, worker_of_anyio, worker_of_trio]
workers = pytest.mark.parametrize("worker", WORKERS, ids=lambda worker: worker.__name__)


@workers
def test_each_is_served_under_their_own_name(
    worker: Callable[[], contextlib.AbstractContextManager[Run]], tmp_path: Path
) -> None:
    a, b = Recorder(agent_id="a"), Recorder(agent_id="b")
    threads: set[int] = set()

    def job(name: str) -> Job:
        return lambda: (threads.add(threading.get_ident()), os.mkdir(tmp_path / name))

    with worker() as run:
        for n in range(3):
            with governed(a):
                run(job(f"a{n}"))
            run(job(f"host{n}"))
            with governed(b):
                run(job(f"b{n}"))
    assert len(threads) == 1, "not the same worker: the test shows nothing"
    for agent in (a, b):
        made = [os.path.basename(asked.resource) for asked in agent.asked if asked.action_type == "file_write"]
        assert made == [f"{agent.agent_id}{n}" for n in range(3)]


@workers
def test_a_kill_of_who_began_it_does_not_end_it(
    worker: Callable[[], contextlib.AbstractContextManager[Run]], tmp_path: Path
) -> None:
    with (
        Vaultak(
            publisher=RecordingPublisher(),
            settings=Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path / "data")}),
            max_risk_score=1.0,
            rollback_limit=0,
        ) as vt,
        worker() as run,
    ):
        with vt.monitor("first"):
            run(lambda: (tmp_path / "first").touch())
        vt.monitor("first")._agent._set_state(AgentState.KILLED, "the test says so")
        assert [run(lambda n=n: sum(range(n))) for n in range(300)] == [sum(range(n)) for n in range(300)]  # type: ignore[misc]
        run(lambda: (tmp_path / "host").touch())
        with vt.monitor("second"):
            run(lambda: (tmp_path / "second").touch())
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["first", "host", "second"]


def test_a_killed_agents_callback_leaves_the_hosts_pool_alive(tmp_path: Path) -> None:
    go, called = threading.Event(), threading.Event()
    with (
        Vaultak(publisher=RecordingPublisher(), max_risk_score=1.0, rollback_limit=0) as vt,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        ThreadPool(1) as threads,
    ):

        def acts(_: object) -> None:
            called.set()
            (tmp_path / "f").touch()

        pool.submit(int).result()
        with contextlib.suppress(AgentKilledError), vt.monitor("killed"):
            pool.submit(go.wait, WAIT_S).add_done_callback(acts)
            result = threads.apply_async(go.wait, (WAIT_S,), callback=acts)
        vt.monitor("killed")._agent._set_state(AgentState.KILLED, "the test says so")
        go.set()
        result.wait(WAIT_S)
        assert called.wait(WAIT_S)
        assert pool.submit(sum, range(10)).result(WAIT_S) == 45
        assert threads.apply_async(sum, (range(10),)).get(WAIT_S) == 45
    assert not (tmp_path / "f").exists()
