"""The heart: a real worker on a real broker gives exactly the verdicts of `vaultak replay`, through kill -9 too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.worker_process import (
    HISTORY,
    TEST,
    keyed,
    needs_recordings,
    publish,
    read_until,
    reader,
    recorded,
    replayed,
    running_worker,
    timeless,
)
from vaultak.control.signatures import TrustStore
from vaultak.wire import Topics, decode_command, decode_state, decode_verdict
from vaultak_devstack.broker import Broker

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Replay's verdict of every action, history included."""
    if not HISTORY.exists():
        return {}
    return replayed(recorded(HISTORY) + recorded(TEST), tmp_path_factory.mktemp("replay"))


@needs_recordings
async def test_a_worker_gives_the_verdicts_of_replay(
    broker: Broker, topics: Topics, tmp_path: Path, expected: dict[str, Any]
) -> None:
    servers = broker.bootstrap_servers
    lines = recorded(HISTORY) + recorded(TEST)
    with running_worker(servers, topics, tmp_path) as worker:
        await publish(servers, topics.actions, keyed(lines))
        async with reader(servers, topics.verdicts) as verdicts:
            records = await read_until(verdicts, lambda found: len(found) >= len(expected))
        status = await worker.until(lambda status: status.counters.get("records") == len(lines))
        assert worker.stop() == 0

    assert [timeless(r.value) for r in records] == list(expected.values()), "same verdicts, same order"
    assert {r.key for r in records} == {decode_verdict(r.value).agent_id.encode() for r in records}
    headers = dict(records[0].headers)
    assert headers["ce_type"] == b"vaultak.verdict.v1"
    assert headers["ce_id"].decode() == decode_verdict(records[0].value).action_id
    assert status.counters["actions"] == len(expected)
    assert not [name for name in status.counters if name.startswith("dead_letters")]


@needs_recordings
async def test_kill_9_midway_changes_no_verdict_and_loses_none(
    broker: Broker, topics: Topics, tmp_path: Path, expected: dict[str, Any]
) -> None:
    servers = broker.bootstrap_servers
    lines = recorded(HISTORY) + recorded(TEST)
    third = len(lines) // 3
    with running_worker(servers, topics, tmp_path) as worker:
        await publish(servers, topics.actions, keyed(lines[:third]))
        # Some of it is checkpointed, the rest is under way when the blow falls.
        await worker.until(lambda status: status.counters.get("checkpoints", 0) >= 1)
        async with reader(servers, topics.verdicts) as verdicts:
            await publish(servers, topics.actions, keyed(lines[third:]))
            records = await read_until(verdicts, lambda found: len(found) > third)
            worker.kill()
            worker.start()
            have = {decode_verdict(r.value).action_id for r in records}
            more = await read_until(
                verdicts,
                lambda found: len(have | {decode_verdict(r.value).action_id for r in found}) == len(expected),
            )

    for record in records + more:
        verdict = timeless(record.value)
        assert verdict == expected[verdict["action_id"]]
    assert "profiles of 1 agents restored" in worker.log


@needs_recordings
async def test_commands_are_signed_by_the_deployment_and_states_follow(
    broker: Broker, topics: Topics, tmp_path: Path
) -> None:
    servers = broker.bootstrap_servers
    policy = tmp_path / "policy.yaml"
    policy.write_text("mode: kill\nblocked_resources: ['tool:get_webpage']\n")
    lines = recorded(TEST)[:400]
    with pytest.MonkeyPatch.context() as env:
        env.setenv("VAULTAK_POLICY", str(policy))
        with running_worker(servers, topics, tmp_path):
            await publish(servers, topics.actions, keyed(lines))
            async with reader(servers, topics.control, topics.agent_state) as both:
                records = await read_until(
                    both, lambda found: {r.topic for r in found} == {topics.control, topics.agent_state}
                )
    command = decode_command(next(r.value for r in records if r.topic == topics.control))
    state = decode_state(next(r.value for r in records if r.topic == topics.agent_state))
    assert TrustStore(tmp_path / "keys").verify(command) == ""
    assert command.command == "kill"
    assert state.state == "killed"
    assert state.command == command
