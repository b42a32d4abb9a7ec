"""A gateway that serves: real HTTP, a real broker; and clients with keys for it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from sdk.operator_side import Operator, settings
from vaultak.config import Settings
from vaultak.policy import KillSwitchMode, PolicySettings
from vaultak.wire import Topics
from vaultak_devstack.broker import Broker
from vaultak_streams.console.entrance import address
from vaultak_streams.gateway.app import build
from vaultak_streams.gateway.gateway import Gateway
from vaultak_streams.gateway.options import GatewayOptions
from vaultak_streams.gateway.server import bind

POLICY = PolicySettings(blocked_resources=("*.env",), max_risk_score=1.0, mode=KillSwitchMode.BLOCK)


class Served:
    """A running gateway."""

    def __init__(self, gateway: Gateway, at: str) -> None:
        self.gateway, self.at = gateway, at
        self._clients: list[httpx.Client] = []

    def client(self, *agents: str) -> httpx.Client:
        """With a key that speaks for these agents."""
        _, key = self.gateway.keys.add(list(agents))
        client = httpx.Client(base_url=self.at, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()


@contextlib.contextmanager
def serving(where: Settings, policy: PolicySettings = POLICY, **options: Any) -> Iterator[Served]:
    """Serve on a thread until the block ends."""
    chosen = GatewayOptions(port=0, **options)
    gateway, listener = Gateway(where, chosen, policy), bind(chosen)
    server = uvicorn.Server(uvicorn.Config(build(gateway), log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    served = Served(gateway, address(listener))
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield served
    finally:
        served.close()
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def where(tmp_path: Path, broker: Broker, topics: Topics) -> Settings:
    return settings(tmp_path, broker.bootstrap_servers, topics)


@pytest.fixture
def operator(where: Settings) -> Operator:
    """Before the gateway starts: it trusts this one."""
    return Operator(where.data_dir, where.bootstrap_servers, where.topics)


@pytest.fixture
def served(where: Settings, operator: Operator) -> Iterator[Served]:
    with serving(where) as running:
        until(lambda: not running.gateway.not_ready())
        yield running


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., contextlib.AbstractContextManager[Served]]:
    """Call it, with options, for a gateway whose broker is away."""

    @contextlib.contextmanager
    def start(**options: Any) -> Iterator[Served]:
        where = settings(tmp_path_factory.mktemp("gateway"), "127.0.0.1:9", Topics("alone"))
        with serving(where, **options) as served:
            served.gateway.flush_s = 0
            yield served

    return start


def until(holds: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def action(agent_id: str = "web", **changes: Any) -> dict[str, Any]:
    """An action as a client sends it."""
    sent = {
        "kind": "action",
        "agent_id": agent_id,
        "session_id": "s1",
        "action_type": "file_read",
        "resource": "/srv/data/report.txt",
        "payload": {"why": "asked to"},
    }
    return sent | changes
