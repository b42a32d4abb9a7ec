"""Whoever starts work is answerable for it, in whatever thread, task or pool it runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sdk.intercept.attribution_ways import WAYS, Way
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


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_work_is_its_agents_wherever_it_runs(way: Way, tmp_path: Path) -> None:
    """One agent is allowed, one denied, the host is nobody's: all three at once, each in a thread of its own."""
    agents = {"allowed": Recorder(agent_id="allowed"), "denied": Recorder(agent_id="denied", denies=lambda *_: True)}
    ended: list[tuple[str, str]] = []

    def drive(who: str) -> None:
        for n in range(3):
            steps = way(lambda n=n: act(who, n))  # type: ignore[misc]
            next(steps)
            with governed(agents[who]) if who in agents else contextlib.nullcontext():
                next(steps)
            next(steps, None)

    def act(who: str, n: int) -> None:
        try:
            os.mkdir(tmp_path / f"{who}{n}")
            ended.append((who, "done"))
        except ActionBlockedError:
            ended.append((who, "blocked"))

    together([lambda who=who: drive(who) for who in (*agents, "host")])  # type: ignore[misc]
    assert sorted(ended) == [("allowed", "done")] * 3 + [("denied", "blocked")] * 3 + [("host", "done")] * 3
    for who, agent in agents.items():
        made = [asked for asked in agent.asked if asked.action_type == "file_write"]
        assert sorted(os.path.basename(asked.resource) for asked in made) == [f"{who}{n}" for n in range(3)]
        assert [asked.outcome for asked in made] == [{"allowed": "ok", "denied": ""}[who]] * 3


def together(jobs: list[Callable[[], None]]) -> None:
    """Run each in a thread, turning often, and hand on what they raise."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            for future in [pool.submit(job) for job in jobs]:
                future.result(60)
    finally:
        sys.setswitchinterval(interval)


async def test_a_synchronous_monitor_within_a_task_s_own_holds_across_its_awaits(tmp_path: Path) -> None:
    outer, inner = Recorder(agent_id="outer"), Recorder(agent_id="inner")

    async def neighbour() -> None:
        for i in range(5):
            os.mkdir(tmp_path / f"neighbour{i}")
            await asyncio.sleep(0)

    with governed(outer):
        os.mkdir(tmp_path / "before")
        beside = asyncio.create_task(neighbour())
        with governed(inner):
            await asyncio.sleep(0)
            os.mkdir(tmp_path / "within")
            await asyncio.to_thread(os.mkdir, tmp_path / "within a thread")
        await beside
        os.mkdir(tmp_path / "after")
    assert resources(inner) == ["within", "within a thread"]
    assert sorted(resources(outer)) == ["after", "before", *(f"neighbour{i}" for i in range(5))]


def test_an_event_loop_within_a_synchronous_monitor_keeps_two_agents_apart(tmp_path: Path) -> None:
    outer, inner = Recorder(agent_id="outer"), Recorder(agent_id="inner")

    async def works(name: str, agent: Recorder | None) -> None:
        with governed(agent) if agent else contextlib.nullcontext():
            for i in range(5):
                os.mkdir(tmp_path / f"{name}{i}")
                await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(works("inner", inner), works("outer", None))

    with governed(outer):
        asyncio.run(both())
        os.mkdir(tmp_path / "outer5")
    assert resources(inner) == [f"inner{i}" for i in range(5)]
    assert [name for name in resources(outer) if name.startswith("outer")] == [f"outer{i}" for i in range(6)]
    assert not [name for name in resources(outer) if name.startswith("inner")]


def test_an_agent_within_a_thread_of_an_agent_leaves_its_siblings_alone(tmp_path: Path) -> None:
    outer, inner = Recorder(agent_id="outer"), Recorder(agent_id="inner")
    entered, acted = threading.Event(), threading.Event()

    def works() -> None:
        with governed(inner):
            entered.set()
            acted.wait(10)
            os.mkdir(tmp_path / "inner")
        os.mkdir(tmp_path / "outer again")

    with governed(outer):
        thread = threading.Thread(target=works)
        thread.start()
        entered.wait(10)
        os.mkdir(tmp_path / "outer")
        acted.set()
        thread.join()
    assert resources(inner) == ["inner"]
    assert resources(outer) == ["outer", "outer again"]
