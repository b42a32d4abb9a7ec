"""Two workers share the partitions; one dies. No verdict changes and none is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.worker_process import (
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
from vaultak.wire import Topics
from vaultak_devstack.broker import Broker

pytestmark = [pytest.mark.stack, pytest.mark.slow]

AGENTS = 24


def fleet() -> list[bytes]:
    """A recorded run as if many agents had lived it: one session each."""
    events: list[dict[str, Any]] = [json.loads(line) for line in recorded(TEST)[:6000]]
    for event in events:
        event["agent_id"] = f"agent-{hash_of(event['session_id']) % AGENTS}"
    return [json.dumps(event).encode() for event in events]


def hash_of(text: str) -> int:
    return int(text[:8], 16)


@needs_recordings
async def test_partitions_move_with_their_profiles(broker: Broker, topics: Topics, tmp_path: Path) -> None:
    servers, lines = broker.bootstrap_servers, fleet()
    expected = replayed(lines, tmp_path)
    with running_worker(servers, topics, tmp_path, 0) as first, running_worker(servers, topics, tmp_path, 1) as second:
        async with reader(servers, topics.verdicts) as verdicts:
            await publish(servers, topics.actions, keyed(lines[:2000]))
            await first.until(lambda one: bool(one.partitions))
            await second.until(lambda two: bool(two.partitions))
            await publish(servers, topics.actions, keyed(lines[2000:4000]))
            records = await read_until(verdicts, lambda found: len(found) > len(expected) // 2)
            first.kill()
            await publish(servers, topics.actions, keyed(lines[4000:]))
            have = {timeless(r.value)["action_id"] for r in records}
            records += await read_until(
                verdicts,
                lambda found: len(have | {timeless(r.value)["action_id"] for r in found}) == len(expected),
                timeout_s=90,
            )
    for record in records:
        verdict = timeless(record.value)
        assert verdict == expected[verdict["action_id"]]
