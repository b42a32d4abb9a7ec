"""HTTP under a real monitor: the patterns users write, pauses, redaction, and who stands for what."""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
import websockets.asyncio.client
import websockets.asyncio.server
import websockets.sync.client

from sdk.intercept.http_ways import WAYS, Way
from sdk.intercept.loopback import Web, serving
from sdk.intercept.recorder import Recorder, governed
from vaultak import ActionBlockedError, KillSwitchMode, Vaultak
from vaultak.intercept import faults, install
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, AgentState, Outcome

install()

DEADLINE_S = 10
GAP_S = 0.25
"""Longest time that another task of the loop may stand still; the pauses here are longer."""


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with serving() as web:
        yield web


@pytest.fixture(autouse=True)
def _fresh(server: Web) -> Iterator[None]:
    server.reached.clear()
    before = faults.total()
    yield
    assert faults.total() == before, faults


@pytest.fixture
def published() -> RecordingPublisher:
    return RecordingPublisher()


Make = Callable[..., Vaultak]


@pytest.fixture
def make(published: RecordingPublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setenv("VAULTAK_DATA_DIR", str(tmp_path / "data"))
    clients: list[Vaultak] = []

    def make(**limits: Any) -> Vaultak:
        limits = {"mode": KillSwitchMode.BLOCK, "max_risk_score": 1.0, "rollback_limit": 0} | limits
        clients.append(Vaultak(publisher=published, pause_timeout_s=DEADLINE_S, **limits))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
SYNC = [way for way in WAYS if way.send]
ASYNC = [way for way in WAYS if way.send_async]


@every_way
@pytest.mark.parametrize("pattern", ["{origin}/*", "127.0.0.1", "*127.0.0.1*", "127.0.0.1:{port}", "{origin}/a/*"])
def test_a_blocked_pattern_holds(way: Way, pattern: str, server: Web, make: Make) -> None:
    blocked = pattern.format(origin=server.url(""), port=server.port)
    with make(blocked_resources=[blocked]).monitor("a") as m, pytest.raises(ActionBlockedError):
        way("GET", server.url("/a/b"))
    assert server.reached == []
    (entry,) = [entry for entry in m.audit_trail() if entry.resource.startswith("http")]
    assert (entry.decision, entry.status.value if entry.status else "") == ("block", "denied")


@pytest.mark.parametrize("way", SYNC, ids=lambda way: way.name)
def test_a_paused_request_waits_and_goes_on_when_approved(way: Way, server: Web, make: Make) -> None:
    vt = make(mode=KillSwitchMode.PAUSE, max_risk_score=0.3)
    m = vt.monitor("a")
    codes: list[int] = []

    def work() -> None:
        with m:
            codes.append(way("GET", server.url("/password")))

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: m.state is AgentState.PAUSED)
    assert server.reached == []
    m.approve()
    thread.join(DEADLINE_S)
    assert codes == [200]


@pytest.mark.parametrize("way", ASYNC, ids=lambda way: way.name)
async def test_a_paused_request_of_a_task_leaves_the_loop_free(way: Way, server: Web, make: Make) -> None:
    m = make(mode=KillSwitchMode.PAUSE, max_risk_score=0.3).monitor("a")

    async def work() -> int:
        async with m:
            return await way.run("GET", server.url("/password"))

    task = asyncio.create_task(work())
    last, longest, turns = time.monotonic(), 0.0, 0
    while m.state is not AgentState.PAUSED or turns < 100:
        await asyncio.sleep(0.002)
        longest, last, turns = max(longest, time.monotonic() - last), time.monotonic(), turns + 1
        assert turns < DEADLINE_S / 0.002
    assert server.reached == []
    m.approve()
    assert await task == 200
    assert longest < GAP_S


@every_way
def test_no_secret_of_a_request_leaves_the_process(
    way: Way, server: Web, make: Make, published: RecordingPublisher
) -> None:
    credentials = "alice:s3cretpw@" if way.credentials else ""
    with make().monitor("a"):
        way("POST", server.url("/login?api_key=t0psecretkey", credentials), {"password": "hunter2hunter2", "n": 1})
    text = b"".join(value for _, _, value, _ in published.messages).decode()
    assert "/login" in text
    for secret in ("s3cretpw", "t0psecretkey", "hunter2hunter2"):
        assert secret not in text


@every_way
def test_the_status_is_in_the_outcome(way: Way, server: Web, make: Make, published: RecordingPublisher) -> None:
    with make().monitor("a"):
        way("GET", server.url("/page"))
    (action,) = [e for e in published.events() if isinstance(e, Action) and e.resource.startswith("http")]
    (outcome,) = [e for e in published.events() if isinstance(e, Outcome) and e.action_id == action.action_id]
    assert outcome.content.startswith("HTTP 200")
    assert outcome.duration_ms is not None
    assert outcome.duration_ms > 0


# -- who stands for what -------------------------------------------------------------------------------------------


def urls(recorder: Recorder) -> list[str]:
    return [asked.resource for asked in recorder.asked if asked.payload.get("op") in ("http.request", "http.tunnel")]


def test_a_request_from_inside_another_is_an_action_of_its_own(server: Web) -> None:
    def body() -> Iterator[bytes]:
        requests.get(server.url("/inner"), timeout=10)
        requests.get(server.url("/outer"), timeout=10)
        yield b"x"

    with governed(Recorder()) as agent:
        requests.post(server.url("/outer"), data=body(), timeout=10)
    assert urls(agent) == [server.url(path) for path in ("/outer", "/inner", "/outer")]


@every_way
def test_the_library_is_on_record(way: Way, server: Web) -> None:
    with governed(Recorder()) as agent:
        way("GET", server.url("/page"))
    (library,) = [asked.payload["library"] for asked in agent.asked if asked.payload.get("op") == "http.request"]
    assert way.name.startswith(library)


def test_a_retry_is_judged_again(server: Web) -> None:
    retries = urllib3.Retry(total=2, backoff_factor=0, status_forcelist=[404], raise_on_status=False)
    with governed(Recorder()) as agent, urllib3.PoolManager(retries=retries) as pool:
        pool.request("GET", server.url("/missing"))
    assert len(server.reached) == len(urls(agent)) == 3


def test_a_tunnel_is_judged_by_where_it_leads(server: Web) -> None:
    denied = Recorder(denies=lambda _type, resource: resource == "evil.example:443")
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.set_tunnel("evil.example", 443)
    with governed(denied), pytest.raises(ActionBlockedError):
        connection.connect()
    connection.close()
    assert server.reached == []


# -- websockets ----------------------------------------------------------------------------------------------------


async def test_opening_a_websocket_is_a_request() -> None:
    async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/chat"

        def sync() -> str | bytes:
            with websockets.sync.client.connect(url + "?token=s3cretpw") as connection:
                connection.send("hello")
                return connection.recv()

        with governed(Recorder()) as agent:
            async with websockets.asyncio.client.connect(url) as connection:
                await connection.send("hello")
                assert await connection.recv() == "hello"
            assert await asyncio.to_thread(sync) == "hello"
        asked = [asked for asked in agent.asked if asked.payload.get("op") == "http.request"]
        assert [(a.resource, a.outcome, a.payload["library"]) for a in asked] == [(url, "ok", "websockets")] * 2
        with governed(Recorder(denies=lambda _type, resource: resource == url)):
            with pytest.raises(ActionBlockedError):
                async with websockets.asyncio.client.connect(url):
                    pass
            with pytest.raises(ActionBlockedError):
                await asyncio.to_thread(sync)
