"""Whoever starts work is answerable for it, in whatever thread, task or pool it runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from pathlib import Path

import pytest

from sdk.intercept.recorder import Recorder, governed
from vaultak import governor
from vaultak.errors import ActionBlockedError
from vaultak.intercept import install

install()


def resources(recorder: Recorder) -> list[str]:
    return [os.path.basename(asked.resource) for asked in recorder.asked]


def test_two_agents_in_threads_never_share_a_verdict(tmp_path: Path) -> None:
    allowed, denied = Recorder(agent_id="a"), Recorder(agent_id="b", denies=lambda *_: True)
    refused: list[str] = []

    def work(agent: Recorder) -> None:
        with governed(agent):
            for i in range(200):
                try:
                    os.mkdir(tmp_path / f"{agent.agent_id}{i}")
                except ActionBlockedError:
                    refused.append(agent.agent_id)

    threads = [threading.Thread(target=work, args=(agent,)) for agent in (allowed, denied)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == ["b"] * 200
    assert sorted(os.listdir(tmp_path)) == sorted(f"a{i}" for i in range(200))
    assert {name[0] for name in resources(allowed)} == {"a"}
    assert {name[0] for name in resources(denied)} == {"b"}


async def test_tasks_of_different_agents_take_turns_on_one_thread(tmp_path: Path) -> None:
    agents = [Recorder(agent_id="a"), Recorder(agent_id="b")]

    async def work(agent: Recorder) -> None:
        with governed(agent):
            for i in range(20):
                os.mkdir(tmp_path / f"{agent.agent_id}{i}")
                await asyncio.sleep(0)
                await asyncio.to_thread(os.mkdir, tmp_path / f"{agent.agent_id}{i}.thread")

    async def bystander() -> None:
        for i in range(20):
            os.mkdir(tmp_path / f"n{i}")
            await asyncio.sleep(0)

    await asyncio.gather(*(work(agent) for agent in agents), bystander())
    assert [{name[0] for name in resources(agent)} for agent in agents] == [{"a"}, {"b"}]
    assert [len(agent.asked) for agent in agents] == [40, 40]


def test_the_innermost_monitor_answers_and_the_outer_one_takes_over_again(tmp_path: Path) -> None:
    outer, inner = Recorder(agent_id="outer"), Recorder(agent_id="inner")
    with governed(outer):
        os.mkdir(tmp_path / "1")
        with governed(inner):
            os.mkdir(tmp_path / "2")
        os.mkdir(tmp_path / "3")
    os.mkdir(tmp_path / "4")
    assert (resources(outer), resources(inner)) == (["1", "3"], ["2"])


def test_a_pool_serves_each_agent_under_its_own_name(tmp_path: Path) -> None:
    agents = [Recorder(agent_id="a"), Recorder(agent_id="b")]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for i in range(5):
            for agent in agents:
                with governed(agent):
                    future = pool.submit(os.mkdir, tmp_path / f"{agent.agent_id}{i}")
                future.result()
        pool.submit(os.mkdir, tmp_path / "nobody").result()
    assert resources(agents[0]) == [f"a{i}" for i in range(5)]
    assert resources(agents[1]) == [f"b{i}" for i in range(5)]


def test_a_thread_outlives_its_starters_block_but_stays_governed(tmp_path: Path) -> None:
    agent = Recorder()
    go = threading.Event()

    def work() -> None:
        go.wait(10)
        os.mkdir(tmp_path / "late")

    with governed(agent):
        thread = threading.Thread(target=work)
        thread.start()
    go.set()
    thread.join()
    assert resources(agent) == ["late"]


async def test_a_governor_of_a_task_does_not_reach_its_neighbours(tmp_path: Path) -> None:
    agent = Recorder()
    inside, outside = asyncio.Event(), asyncio.Event()

    async def governed_task() -> None:
        with governed(agent):
            inside.set()
            await outside.wait()

    task = asyncio.create_task(governed_task())
    await inside.wait()
    os.mkdir(tmp_path / "neighbour")
    assert governor.current() is None
    outside.set()
    await task
    assert agent.asked == []


def test_nobody_is_asked_outside_every_monitor(tmp_path: Path) -> None:
    agent = Recorder()
    with governed(agent):
        pass
    os.mkdir(tmp_path / "free")
    assert agent.asked == []
    assert governor.current() is None


@pytest.mark.parametrize("times", [1, 3])
def test_installing_again_judges_nothing_twice(times: int, tmp_path: Path) -> None:
    for _ in range(times):
        install()
    agent = Recorder()
    with governed(agent):
        os.mkdir(tmp_path / "once")
    assert resources(agent) == ["once"]
