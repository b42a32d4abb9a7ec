"""A kill by an operator through a real broker ends what works for the agent; a newer order lets it begin anew."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdk.operator_side import Operator, read_events, settings, until
from vaultak import AgentKilledError, Vaultak
from vaultak.wire import Action, AgentState, Outcome, Topics
from vaultak_devstack.broker import Broker

pytestmark = pytest.mark.stack

DEADLINE_S = 10.0


@pytest.fixture
def operator(broker: Broker, topics: Topics, tmp_path: Path) -> Operator:
    return Operator(tmp_path, broker.bootstrap_servers, topics)


@pytest.fixture
def vt(broker: Broker, topics: Topics, tmp_path: Path, operator: Operator) -> Iterator[Vaultak]:
    with Vaultak(
        settings=settings(tmp_path, broker.bootstrap_servers, topics),
        rollback_limit=0,
        state_timeout_s=10,
        max_risk_score=1.0,
    ) as client:
        yield client


def computing(vt: Vaultak, name: str, rounds: list[int]) -> threading.Thread:
    """A thread that works for the agent, and swallows what it can; it works by the time this returns."""
    begun = threading.Event()

    def run() -> None:
        with contextlib.suppress(AgentKilledError), vt.monitor(name):
            while True:
                with contextlib.suppress(Exception):
                    rounds[0] += 1
                    begun.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(DEADLINE_S)
    return thread


@pytest.mark.skipif(sys.platform != "linux", reason="processes are followed on Linux")
async def test_a_signed_kill_ends_threads_tasks_and_children_and_spares_the_rest(
    vt: Vaultak, operator: Operator, tmp_path: Path
) -> None:
    rounds, others = [0], [0]
    thread, other = computing(vt, "victim", rounds), computing(vt, "bystander", others)

    async def sleeps() -> None:
        async with vt.monitor("victim"):
            for _ in range(3):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
            await asyncio.sleep(60)

    async def acts() -> None:
        async with vt.monitor("victim"):
            for n in range(1_000_000):
                (tmp_path / f"made{n}").touch()
                await asyncio.sleep(0.001)

    with vt.monitor("victim"):
        child = subprocess.Popen(["sleep", "60"])
    tasks = [asyncio.create_task(sleeps()), asyncio.create_task(acts())]
    await asyncio.sleep(0.02)
    kill = await operator.order("victim", "kill", reason="seen enough")
    await asyncio.wait(tasks, timeout=DEADLINE_S)
    assert all(task.done() and isinstance(task.exception(), AgentKilledError) for task in tasks)
    await asyncio.to_thread(thread.join, DEADLINE_S)
    assert not thread.is_alive()
    assert await asyncio.to_thread(child.wait, DEADLINE_S) < 0
    assert (await operator.acks(kill.command_id))[kill.command_id].detail == "killed"
    before = others[0]
    await asyncio.to_thread(until, lambda: others[0] > before)
    await operator.order("bystander", "kill")
    await asyncio.to_thread(other.join, DEADLINE_S)
    assert not other.is_alive()
    await asyncio.to_thread(vt.flush, DEADLINE_S)
    events = await read_events(operator.servers, operator.topics)
    made = [e for e in events if isinstance(e, Action) and Path(e.resource).name.startswith("made")]
    done = {e.action_id for e in events if isinstance(e, Outcome) and e.status == "ok"}
    assert len([e for e in made if e.action_id in done]) == len(list(tmp_path.glob("made*"))), (
        "an effect off the record"
    )


async def test_a_newer_order_lets_a_killed_agent_begin_anew_and_an_older_one_does_not(
    vt: Vaultak, operator: Operator, tmp_path: Path
) -> None:
    rounds = [0]
    thread = computing(vt, "again", rounds)
    kill = await operator.order("again", "kill", epoch=5)
    await asyncio.to_thread(thread.join, DEADLINE_S)
    late = await operator.order("again", "resume", epoch=4)
    assert (await operator.acks(kill.command_id, late.command_id))[late.command_id].result.value == "ignored"
    m = vt.monitor("again")
    assert m.state is AgentState.KILLED
    with pytest.raises(AgentKilledError), vt.monitor("again"):
        (tmp_path / "f").touch()
    await operator.order("again", "resume", epoch=6)
    await asyncio.to_thread(until, lambda: m.state is AgentState.RUNNING)
    thread = await asyncio.to_thread(computing, vt, "again", rounds)
    with vt.monitor("again"):
        (tmp_path / "g").touch()
        time.sleep(0.3)  # longer than the looks of the kill before
    assert thread.is_alive(), "the kill before hit who was resumed"
    await operator.order("again", "kill", epoch=7)
    await asyncio.to_thread(thread.join, DEADLINE_S)
    assert not thread.is_alive()
    assert not (tmp_path / "f").exists()
