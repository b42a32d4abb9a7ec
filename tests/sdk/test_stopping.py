"""A paused agent's task leaves its event loop to the others, wherever in its code the pause meets it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultak import ActionBlockedError, Vaultak
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


def set_state(vt: Vaultak, name: str, state: AgentState) -> None:
    vt.monitor(name)._agent._set_state(state, "the test says so")


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
