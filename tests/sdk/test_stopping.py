"""A paused agent's task leaves its event loop to the others; a killed agent stops working, and only that agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vaultak import ActionBlockedError, ActionType, AgentKilledError, Vaultak
from vaultak.config import Settings
from vaultak.testing import RecordingPublisher
from vaultak.wire import AgentState

DEADLINE_S = 10.0


@pytest.fixture
def vt(tmp_path: Path) -> Iterator[Vaultak]:
    client = Vaultak(
        publisher=RecordingPublisher(),
        settings=Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path / "data")}),
        max_actions_per_minute=100_000,
        max_risk_score=1.0,
        pause_timeout_s=DEADLINE_S,
    )
    yield client
    client.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def set_state(vt: Vaultak, name: str, state: AgentState) -> None:
    vt.monitor(name)._agent._set_state(state, "the test says so")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_a_pause_in_synchronous_code_leaves_the_loop_to_other_tasks(vt: Vaultak, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    ticks = 0

    async def acts() -> str:
        async with vt.monitor("paused"):
            set_state(vt, "paused", AgentState.PAUSED)
            with open(tmp_path / "f") as f:
                return f.read()

    task = asyncio.create_task(acts())
    for _ in range(20):
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks == 20
    assert not task.done()
    set_state(vt, "paused", AgentState.RUNNING)
    assert await asyncio.wait_for(task, DEADLINE_S) == "x"


async def test_a_denial_of_the_waiting_action_reaches_its_task(vt: Vaultak, tmp_path: Path) -> None:
    async def acts() -> None:
        async with vt.monitor("denied"):
            set_state(vt, "denied", AgentState.PAUSED)
            (tmp_path / "f").write_text("x")

    task = asyncio.create_task(acts())
    await asyncio.sleep(0.02)
    vt.monitor("denied")._agent.deny(None)
    with pytest.raises(ActionBlockedError):
        await asyncio.wait_for(task, DEADLINE_S)
    assert not (tmp_path / "f").exists()


async def test_cancelling_a_waiting_task_ends_its_wait(vt: Vaultak, tmp_path: Path) -> None:
    async def acts() -> None:
        async with vt.monitor("cancelled"):
            set_state(vt, "cancelled", AgentState.PAUSED)
            (tmp_path / "f").write_text("x")

    task = asyncio.create_task(acts())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("swallows", [Exception, BaseException])
def test_a_kill_ends_a_thread_that_swallows_errors(vt: Vaultak, swallows: type[BaseException]) -> None:
    rounds = 0

    def works() -> None:
        nonlocal rounds
        with contextlib.suppress(AgentKilledError), vt.monitor("looping"):
            for _ in range(5):
                try:
                    while True:
                        rounds += 1
                except swallows:
                    pass

    thread = threading.Thread(target=works)
    thread.start()
    until(lambda: rounds > 0)
    set_state(vt, "looping", AgentState.KILLED)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_the_thread_that_entered_the_monitor_goes_on_behind_it(vt: Vaultak, tmp_path: Path) -> None:
    kill = threading.Timer(0.05, set_state, (vt, "mine", AgentState.KILLED))
    kill.start()

    def works() -> None:
        with vt.monitor("mine"):
            while True:
                with contextlib.suppress(Exception):
                    sum(range(100))

    with pytest.raises(AgentKilledError):
        works()
    kill.join()
    (tmp_path / "host").write_text("the program goes on")
    for _ in range(200):
        sum(range(1000))  # nothing is raised any more


def test_a_monitor_of_explicit_actions_alone_is_not_interrupted(vt: Vaultak) -> None:
    with vt.monitor("explicit", intercept=False) as m:
        set_state(vt, "explicit", AgentState.KILLED)
        for _ in range(300):
            sum(range(10_000))
        with pytest.raises(AgentKilledError):
            m.before(ActionType.TOOL_CALL, "tool:look", {})


def test_a_kill_around_an_event_loop_ends_its_tasks(vt: Vaultak) -> None:
    async def works() -> None:
        while True:
            with contextlib.suppress(Exception):
                await asyncio.sleep(0.001)

    threading.Timer(0.05, set_state, (vt, "looped", AgentState.KILLED)).start()
    with pytest.raises(AgentKilledError), vt.monitor("looped"):
        asyncio.run(works())


def test_a_kill_spares_other_agents_and_the_program(vt: Vaultak) -> None:
    stop, progress = threading.Event(), {"other": 0, "host": 0}
    victim_works = threading.Event()

    def other() -> None:
        with vt.monitor("other"):
            while not stop.is_set():
                progress["other"] += 1

    def host() -> None:
        while not stop.is_set():
            progress["host"] += 1

    def victim() -> None:
        with contextlib.suppress(AgentKilledError), vt.monitor("victim"):
            while True:
                victim_works.set()

    threads = [threading.Thread(target=f) for f in (other, host)]
    ended = threading.Thread(target=victim)
    for thread in (*threads, ended):
        thread.start()
    victim_works.wait(DEADLINE_S)
    set_state(vt, "victim", AgentState.KILLED)
    ended.join(DEADLINE_S)
    assert not ended.is_alive()
    before = dict(progress)
    until(lambda: all(progress[who] > before[who] for who in before))
    stop.set()
    for thread in threads:
        thread.join(DEADLINE_S)


def test_a_pool_worker_that_has_moved_on_is_not_hit(vt: Vaultak) -> None:
    started = threading.Event()

    def loops() -> None:
        while True:
            started.set()

    with ThreadPoolExecutor(1) as pool:
        with vt.monitor("pooled"):
            future = pool.submit(loops)
        started.wait(DEADLINE_S)
        set_state(vt, "pooled", AgentState.KILLED)
        with pytest.raises(AgentKilledError):
            future.result(DEADLINE_S)
        assert [pool.submit(sum, range(1000)).result(DEADLINE_S) for _ in range(500)] == [499500] * 500


async def test_a_kill_ends_tasks_that_swallow_cancellation(vt: Vaultak) -> None:
    async def stubborn() -> None:
        async with vt.monitor("stubborn"):
            for _ in range(5):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
            await asyncio.sleep(60)

    async def innocent() -> str:
        await asyncio.sleep(0.2)
        return "lives"

    spared, task = asyncio.create_task(innocent()), asyncio.create_task(stubborn())
    await asyncio.sleep(0.02)
    set_state(vt, "stubborn", AgentState.KILLED)
    done, _ = await asyncio.wait([task], timeout=DEADLINE_S)
    assert task in done
    assert isinstance(task.exception(), AgentKilledError)
    assert await spared == "lives"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are followed on Linux")
def test_a_kill_ends_what_os_system_started(vt: Vaultak, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def acts() -> None:
        with contextlib.suppress(AgentKilledError), vt.monitor("shelled"):
            os.system(f"echo $$ > {pids}; sleep 60")

    thread = threading.Thread(target=acts)
    thread.start()
    until(lambda: pids.exists() and bool(pids.read_text().strip()))
    set_state(vt, "shelled", AgentState.KILLED)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    until(lambda: gone(int(pids.read_text())))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are followed on Linux")
@pytest.mark.parametrize("new_session", [False, True])
def test_a_kill_ends_child_processes_and_theirs(vt: Vaultak, tmp_path: Path, new_session: bool) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    pids = tmp_path / "pids"
    try:
        with vt.monitor("parent"):
            child = subprocess.Popen(["sh", "-c", f"sleep 60 & echo $! > {pids}; wait"], start_new_session=new_session)
        until(lambda: pids.exists() and bool(pids.read_text().strip()))
        set_state(vt, "parent", AgentState.KILLED)
        assert child.wait(DEADLINE_S) < 0
        until(lambda: gone(int(pids.read_text())))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_new_client_s_agent_of_the_same_name_is_not_hunted() -> None:
    """The kill of one client's agent goes on for a while; who begins anew under that name was not killed."""
    with Vaultak(publisher=RecordingPublisher(), rollback_limit=0, mode="kill", blocked_resources=["never"]) as vt:
        with contextlib.suppress(AgentKilledError), vt.monitor("again") as m:
            m.before(ActionType.CUSTOM, "never", {})
    with Vaultak(publisher=RecordingPublisher(), rollback_limit=0) as vt, vt.monitor("again"):
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            sum(range(100))
