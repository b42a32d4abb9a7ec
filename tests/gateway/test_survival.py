"""What the gateway took is not lost: not with its process, not with the broker away."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.serving import action, until
from sdk.operator_side import read_events
from vaultak.wire import Topics
from vaultak_devstack.broker import Broker
from vaultak_streams.gateway.keys import ApiKeys, keys_path

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@contextmanager
def gateway(data_dir: Path, servers: str, prefix: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A process of its own, as `vaultak up` starts it."""
    at = data_dir / "gateway" / "address"
    at.unlink(missing_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith("VAULTAK_")} | {
        "VAULTAK_DATA_DIR": str(data_dir),
        "VAULTAK_BOOTSTRAP_SERVERS": servers,
        "VAULTAK_TOPIC_PREFIX": prefix,
        "VAULTAK_GATEWAY_PORT": "0",
    }
    process = subprocess.Popen([sys.executable, "-m", "vaultak_streams.gateway"], env=env)
    try:
        until(lambda: at.exists() or process.poll() is not None)
        until(lambda: _answers(at.read_text()))
        yield at.read_text(), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _answers(at: str) -> bool:
    try:
        return httpx.get(f"{at}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_what_was_answered_is_delivered_by_the_next_one_after_a_kill(
    tmp_path: Path, broker: Broker, topics: Topics
) -> None:
    _, key = ApiKeys(keys_path(tmp_path)).add(["web"])
    headers = {"Authorization": f"Bearer {key}"}
    ids = [f"action-{n}" for n in range(40)]
    with gateway(tmp_path, "127.0.0.1:9", topics.prefix) as (at, process):
        for action_id in ids:
            assert httpx.post(f"{at}/v1/actions", json=action(action_id=action_id), headers=headers).status_code == 200
        process.kill()
        process.wait()
    with gateway(tmp_path, broker.bootstrap_servers, topics.prefix) as (at, process):
        assert httpx.post(f"{at}/v1/actions", json=action(action_id="next"), headers=headers).status_code == 200

        def delivered() -> set[str]:
            events = asyncio.run(read_events(broker.bootstrap_servers, topics))
            return {event.action_id for event in events if event.agent_id == "web"}  # type: ignore[union-attr]

        until(lambda: delivered() == {*ids, "next"}, 40)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
