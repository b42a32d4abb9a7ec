"""Agents in Node.js (on Kafka) and Go (over HTTP): what they do is on record, and they obey."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.serving import Served
from sdk.operator_side import Operator, read_events, until
from vaultak.config import Settings
from vaultak.wire import AckResult, Action, Outcome, OutcomeStatus

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = [pytest.mark.stack, pytest.mark.slow]


class Program:
    """A running example."""

    def __init__(self, process: subprocess.Popen[str], printed: Path) -> None:
        self._process, self._printed = process, printed

    @property
    def reports(self) -> int:
        """How many it has written."""
        return sum(line.startswith("report ") for line in self._printed.read_text().splitlines())

    def ended(self) -> int:
        return self._process.wait(20)


@contextmanager
def program(command: list[str], folder: Path, tmp_path: Path, **env: str) -> Iterator[Program]:
    printed = tmp_path / "printed.txt"
    with printed.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **env})
        try:
            yield Program(process, printed)
        finally:
            process.kill()
            process.wait()


def obeys(running: Program, operator: Operator, agent_id: str) -> None:
    """It acts; paused it waits; resumed it goes on; killed it ends."""
    until(lambda: running.reports >= 2, 60)

    async def order(command: str) -> None:
        signed = await operator.order(agent_id, command)
        found = await operator.acks(signed.command_id)
        assert found[signed.command_id].result is AckResult.APPLIED

    asyncio.run(order("pause"))
    forged = operator.command(agent_id, "resume")
    asyncio.run(operator.send(type(forged)(**{**_members(forged), "reason": "not what was signed"})))
    so_far = running.reports
    asyncio.run(order("pause"))  # acknowledged after the forged one: nothing was resumed by it
    assert running.reports <= so_far + 1
    asyncio.run(order("resume"))
    until(lambda: running.reports >= so_far + 2)
    asyncio.run(order("kill"))
    assert running.ended() == 3


def _members(command: object) -> dict[str, object]:
    return {name: getattr(command, name) for name in type(command).__struct_fields__}  # type: ignore[attr-defined]


def recorded(where: Settings, agent_id: str) -> tuple[int, dict[OutcomeStatus, int]]:
    events = [e for e in asyncio.run(read_events(where.bootstrap_servers, where.topics)) if e.agent_id == agent_id]
    statuses = [e.status for e in events if isinstance(e, Outcome)]
    return sum(isinstance(e, Action) for e in events), {status: statuses.count(status) for status in set(statuses)}


def test_an_agent_in_node(where: Settings, operator: Operator, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here")
    found = subprocess.run([node, "-e", "require('kafkajs')"], cwd=EXAMPLES / "node", capture_output=True, check=False)
    if found.returncode:
        pytest.skip("kafkajs is not installed: `npm install` in examples/node, or NODE_PATH")
    env = {
        "VAULTAK_BOOTSTRAP_SERVERS": where.bootstrap_servers,
        "VAULTAK_TOPIC_PREFIX": where.topics.prefix,
        "VAULTAK_DATA_DIR": str(where.data_dir),
    }
    with program([node, "agent.js"], EXAMPLES / "node", tmp_path, **env) as running:
        obeys(running, operator, "node-agent")
        printed = running.reports
    actions, statuses = recorded(where, "node-agent")
    assert statuses == {OutcomeStatus.OK: printed, OutcomeStatus.DENIED: 1}
    assert actions == printed + 1


def test_an_agent_in_go(where: Settings, operator: Operator, served: Served, tmp_path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no go here")
    binary = tmp_path / "agent"
    subprocess.run([go, "build", "-o", str(binary), "agent.go"], cwd=EXAMPLES / "go", check=True)
    _, key = served.gateway.keys.add(["go-agent"])
    with program([str(binary)], tmp_path, tmp_path, VAULTAK_GATEWAY=served.at, VAULTAK_API_KEY=key) as running:
        obeys(running, operator, "go-agent")
        printed = running.reports
    until(lambda: recorded(where, "go-agent")[1].get(OutcomeStatus.OK, 0) == printed)
    assert recorded(where, "go-agent")[0] == printed + 1
