"""Paused in synchronous code of a task: what loops, time-outs and other waiting tasks do meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from vaultak import ActionBlockedError, ActionType, AgentKilledError, AgentPausedError, Vaultak
from vaultak.config import Settings
from vaultak.testing import RecordingPublisher
from vaultak.turning import MAX_DEPTH
from vaultak.wire import Action, AgentState, Outcome

DEADLINE_S = 10.0


@pytest.fixture
def vt(tmp_path: Path) -> Iterator[Vaultak]:
    with Vaultak(
        publisher=RecordingPublisher(),
        settings=Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path / "data")}),
        max_risk_score=1.0,
        rollback_limit=0,
        pause_timeout_s=DEADLINE_S,
    ) as client:
        yield client


def set_state(vt: Vaultak, name: str, state: AgentState) -> None:
    vt.monitor(name)._agent._set_state(state, "the test says so")


def waits(vt: Vaultak, *names: str) -> bool:
    return all(vt.monitor(name)._agent._waiting.action_ids for name in names)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)


def paused(vt: Vaultak, name: str, path: Path) -> Coroutine[Any, Any, str]:
    """A task whose agent is paused just before it writes a file; says how that ended."""

    async def acts() -> str:
        async with vt.monitor(name):
            set_state(vt, name, AgentState.PAUSED)
            try:
                path.write_text(name)
            except ActionBlockedError:
                return "blocked"
            except AgentPausedError:
                return "stayed paused"
            return "done"

    return acts()


def test_a_loop_that_is_stopped_gets_out_of_the_wait_and_can_go_on(vt: Vaultak, tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(paused(vt, "stopped", tmp_path / "f"))
        loop.call_later(0.03, loop.stop)
        start = time.monotonic()
        loop.run_forever()
        assert time.monotonic() - start < 1
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        assert not (tmp_path / "f").exists()
        assert loop.run_until_complete(asyncio.sleep(0, "the loop works")) == "the loop works"
    finally:
        loop.close()
    assert not waits(vt, "stopped")


def test_the_end_of_asyncio_run_does_not_wait_for_a_paused_task(vt: Vaultak, tmp_path: Path) -> None:
    async def main() -> asyncio.Task[str]:
        task = asyncio.create_task(paused(vt, "left", tmp_path / "f"))
        await until(lambda: waits(vt, "left"))
        return task

    start = time.monotonic()
    task = asyncio.run(main())
    assert time.monotonic() - start < 1
    assert task.cancelled()
    assert not (tmp_path / "f").exists()


async def test_a_timeout_around_a_paused_action_holds(vt: Vaultak, tmp_path: Path) -> None:
    async def acts() -> str:
        try:
            async with asyncio.timeout(0.05):
                set_state(vt, "timed", AgentState.PAUSED)
                (tmp_path / "f").write_text("x")
        except TimeoutError:
            await asyncio.sleep(0)
            return "timed out"
        return "done"

    start = time.monotonic()
    async with vt.monitor("timed"):
        assert await acts() == "timed out"
    assert 0.04 < time.monotonic() - start < 1
    await asyncio.sleep(0)  # and nothing comes after it
    assert not (tmp_path / "f").exists()
    assert not waits(vt, "timed")


@pytest.mark.parametrize("synchronous", [True, False])
async def test_an_action_whose_task_was_cancelled_is_denied_on_record(vt: Vaultak, synchronous: bool) -> None:
    async def acts() -> None:
        async with vt.monitor("gone") as m:
            set_state(vt, "gone", AgentState.PAUSED)
            if synchronous:
                m.before(ActionType.CUSTOM, "thing", {})
            else:
                await m.before_async(ActionType.CUSTOM, "thing", {})

    task = asyncio.create_task(acts())
    await until(lambda: waits(vt, "gone"))
    task.cancel()
    await asyncio.wait([task], timeout=DEADLINE_S)
    assert task.cancelled()
    outcomes = [e for e in cast("RecordingPublisher", vt._publisher).events() if isinstance(e, Outcome)]
    assert [(e.status, e.error) for e in outcomes] == [("denied", "its task was cancelled while it waited")]


async def test_a_cancellation_while_it_waits_arrives_once(vt: Vaultak, tmp_path: Path) -> None:
    async def acts() -> str:
        async with vt.monitor("once"):
            set_state(vt, "once", AgentState.PAUSED)
            try:
                (tmp_path / "f").write_text("x")
            except asyncio.CancelledError:
                set_state(vt, "once", AgentState.RUNNING)
                await asyncio.sleep(0)
                return "cleaned up"
        return "done"

    task = asyncio.create_task(acts())
    await until(lambda: waits(vt, "once"))
    task.cancel()
    assert await task == "cleaned up"


async def test_a_cancellation_together_with_the_answer_is_not_lost(vt: Vaultak, tmp_path: Path) -> None:
    async def acts() -> None:
        async with vt.monitor("both"):
            set_state(vt, "both", AgentState.PAUSED)
            (tmp_path / "f").write_text("x")
            await asyncio.sleep(DEADLINE_S)

    task = asyncio.create_task(acts())
    await until(lambda: waits(vt, "both"))
    task.cancel()
    set_state(vt, "both", AgentState.RUNNING)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, DEADLINE_S)


async def test_wait_for_a_paused_task_holds_too(vt: Vaultak, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(paused(vt, "timed", tmp_path / "f"), 0.05)
    assert not (tmp_path / "f").exists()


async def test_the_agents_own_timeout_counts_in_a_loop(tmp_path: Path) -> None:
    with Vaultak(publisher=RecordingPublisher(), pause_timeout_s=0.05, rollback_limit=0) as vt:
        assert await paused(vt, "slow", tmp_path / "f") == "stayed paused"


@pytest.mark.parametrize("first", ["a", "b"])
async def test_two_agents_that_wait_on_one_loop_both_go_on(vt: Vaultak, tmp_path: Path, first: str) -> None:
    """Whoever is resumed first: the one beneath on the stack comes after the one above it, and both come."""
    tasks = {}
    for name in "ab":
        tasks[name] = asyncio.create_task(paused(vt, name, tmp_path / name))
        await until(lambda name=name: waits(vt, name))  # type: ignore[misc]
    second = "b" if first == "a" else "a"
    set_state(vt, first, AgentState.RUNNING)
    await asyncio.sleep(0.02)
    assert not (tmp_path / second).exists(), "one agent's resume let the other go"
    set_state(vt, second, AgentState.RUNNING)
    assert await asyncio.wait_for(asyncio.gather(*tasks.values()), DEADLINE_S) == ["done", "done"]
    assert [(tmp_path / name).read_text() for name in "ab"] == ["a", "b"]


async def test_a_kill_of_one_waiting_agent_leaves_the_other_waiting(vt: Vaultak, tmp_path: Path) -> None:
    above, beneath = "b", "a"
    tasks = {}
    for name in (beneath, above):
        tasks[name] = asyncio.create_task(paused(vt, name, tmp_path / name))
        await until(lambda name=name: waits(vt, name))  # type: ignore[misc]
    set_state(vt, above, AgentState.KILLED)
    with pytest.raises(AgentKilledError):
        await asyncio.wait_for(tasks[above], DEADLINE_S)
    assert waits(vt, beneath)
    set_state(vt, beneath, AgentState.RUNNING)
    assert await asyncio.wait_for(tasks[beneath], DEADLINE_S) == "done"
    assert not (tmp_path / above).exists()


async def test_more_waiting_tasks_than_the_stack_takes_block_the_loop_and_then_all_go_on(
    vt: Vaultak, tmp_path: Path
) -> None:
    names = [f"agent{n}" for n in range(MAX_DEPTH + 1)]
    tasks = [asyncio.create_task(paused(vt, name, tmp_path / name)) for name in names]

    def resume() -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not waits(vt, *names) and time.monotonic() < deadline:
            time.sleep(0.001)
        for name in names:
            set_state(vt, name, AgentState.RUNNING)

    operator = threading.Thread(target=resume)
    operator.start()
    assert await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE_S) == ["done"] * len(names)
    operator.join()
    assert sorted(path.name for path in tmp_path.glob("agent*")) == sorted(names)


async def test_other_tasks_keep_their_context_and_current_task_while_one_waits(vt: Vaultak, tmp_path: Path) -> None:
    seen: set[tuple[str, bool]] = set()

    async def neighbour(name: str) -> None:
        async with vt.monitor(name) as m:
            mine = asyncio.current_task()
            for n in range(20):
                (tmp_path / f"{name}{n}").write_text(name)
                await asyncio.sleep(0.001)
                seen.add((m.agent_id, asyncio.current_task() is mine))

    waiting = asyncio.create_task(paused(vt, "waits", tmp_path / "f"))
    await until(lambda: waits(vt, "waits"))
    await asyncio.gather(neighbour("x"), neighbour("y"))
    assert seen == {("x", True), ("y", True)}
    set_state(vt, "waits", AgentState.RUNNING)
    assert await waiting == "done"
    events = cast("RecordingPublisher", vt._publisher).events()
    assert Counter(e.agent_id for e in events if isinstance(e, Action)) == {"waits": 1, "x": 20, "y": 20}
    assert Counter(e.agent_id for e in events if isinstance(e, Outcome)) == {"waits": 1, "x": 20, "y": 20}
