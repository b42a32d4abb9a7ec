"""What agents of one role do reaches whatever worker judges the next of them, if a trusted worker said it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.models.acting import Script

from e2e.worker_process import keyed, publish, read_until, reader, replayed, running_worker, timeless
from vaultak import wire
from vaultak.wire import PeerSighting, Topics
from vaultak_devstack.broker import Broker
from vaultak_devstack.keys import sighting_signer

pytestmark = [pytest.mark.stack, pytest.mark.slow]

RELEASE, ATTACK = "tool:list_vouchers", "tool:list_refunds"


def member(name: str, start_s: float) -> Script:
    """A clerk's past, then the release."""
    script = Script(name, step_s=20, labels={"role": "clerk"})
    for n in range(60):
        script.act("file_read", f"/data/in/{n % 7}.csv")
    script.wait(start_s)
    script.act("tool_call", RELEASE)
    return script


def lines(scripts: list[Script]) -> list[bytes]:
    events = sorted((pair for script in scripts for pair in script.events), key=lambda pair: pair[1])
    return [wire.encode(msgspec.structs.replace(event, ts=wire.format_ts(ts_us / 1e6))) for event, ts_us in events]


async def test_a_worker_judges_by_what_peers_did_before_it_started_and_believes_no_stranger(
    broker: Broker, topics: Topics, tmp_path: Path
) -> None:
    servers, here = broker.bootstrap_servers, tmp_path / "worker"
    here.mkdir()
    stranger = sighting_signer(tmp_path / "stranger")
    first, last = lines([member("a", 0), member("b", 600)]), member("c", 7_200)
    last.act("tool_call", ATTACK)
    expected = replayed([*first, *lines([last])], tmp_path)
    forged = [
        stranger(PeerSighting(role="clerk", thing=f"{what} {ATTACK}", agent_id=agent, ts_us=0))
        for what in ("kind tool_call", "place")
        for agent in ("a", "b")
    ]
    with running_worker(servers, topics, here) as worker:
        async with reader(servers, topics.verdicts) as verdicts:
            await publish(servers, topics.actions, keyed(first))
            await read_until(verdicts, lambda found: len(found) >= len(first))
            await worker.until(lambda status: status.counters.get("checkpoints", 0) >= 1)
            worker.kill()
            told = [(b"x", b"{}"), *((str(n).encode(), wire.encode(one)) for n, one in enumerate(forged))]
            await publish(servers, topics.baselines, told)
            worker.start()
            await publish(servers, topics.actions, keyed(lines([last])))
            found = await read_until(verdicts, lambda found: len(found) >= len(last.events))
    judged = [timeless(record.value) for record in found][-len(last.events) :]
    assert judged == [expected[verdict["action_id"]] for verdict in judged], "as replay has it, which saw it all"
    release, attack = judged[-2:]
    assert release["factors"]["behaviour"] < 0.5 < attack["factors"]["behaviour"]
    assert "is refused: " in worker.log
