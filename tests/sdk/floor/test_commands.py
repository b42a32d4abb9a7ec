"""Commands of operators reach what runs under the floor, over a real broker."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from sdk.operator_side import Operator, read_events, settings, until
from vaultak import Vaultak
from vaultak.floor import run_under_floor
from vaultak.wire import Action, Topics
from vaultak_devstack.broker import Broker

pytestmark = pytest.mark.stack


@pytest.fixture
def operator(broker: Broker, topics: Topics, tmp_path: Path) -> Operator:
    return Operator(tmp_path, broker.bootstrap_servers, topics)


@pytest.fixture
def client(broker: Broker, topics: Topics, tmp_path: Path, operator: Operator) -> Vaultak:
    return Vaultak(
        settings=settings(tmp_path, broker.bootstrap_servers, topics), state_timeout_s=10, max_risk_score=1.0
    )


async def test_pause_resume_and_kill(client: Vaultak, operator: Operator, tmp_path: Path) -> None:
    """A paused program waits in its next system call, a resumed one goes on, a killed one is gone: it need not act."""
    work = tmp_path / "work"
    work.mkdir()
    script = f"cd {work}; while [ ! -e go ]; do : > beat; done; : > resumed; while :; do :; done"
    running = asyncio.create_task(asyncio.to_thread(run_under_floor, ["sh", "-c", script], client=client, agent_id="a"))
    await asyncio.to_thread(until, lambda: (work / "beat").exists())
    await _acknowledged(operator, "pause")
    (work / "go").touch()
    assert not (work / "resumed").exists()
    await _acknowledged(operator, "resume")
    await asyncio.to_thread(until, lambda: (work / "resumed").exists())
    start_s = time.monotonic()
    await operator.order("a", "kill")
    assert await asyncio.wait_for(running, 20) == 137
    assert time.monotonic() - start_s < 10
    client.close()
    seen = [
        e
        for e in await read_events(operator.servers, operator.topics)
        if isinstance(e, Action) and e.assurance == "floor"
    ]
    assert f"{work}/resumed" in {e.resource for e in seen}


async def _acknowledged(operator: Operator, command: str) -> None:
    order = await operator.order("a", command)
    await operator.acks(order.command_id)
