"""`vaultak mcp-proxy --url`: in front of a server that answers in JSON, in events, or with errors."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

SESSION = {"mcp-session-id": "s-1"}


class Server:
    """An MCP server over streamable HTTP that notes what it was asked to do."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.heard: list[dict[str, Any]] = []
        self.streams = False
        self.ahead: list[dict[str, Any]] = []

    async def handle(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.did.append("session ended")
            return Response(status_code=204)
        if request.method == "GET":
            return StreamingResponse(self.events(self.ahead), media_type="text/event-stream")
        message = json.loads(await request.body())
        if "method" not in message or "id" not in message:
            self.heard.append(message)
            return Response(status_code=202)
        if message["method"] == "gone":
            return JSONResponse({"detail": "no such session"}, 404)
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": self.result(message)}
        if self.streams:
            return StreamingResponse(self.events([*self.ahead, answer]), 200, SESSION, "text/event-stream")
        return JSONResponse(answer, 200, SESSION)

    def result(self, message: dict[str, Any]) -> dict[str, Any]:
        match message["method"]:
            case "tools/call":
                self.did.append(message["params"]["name"])
                return {"content": [{"type": "text", "text": "done"}]}
            case "tools/list":
                return {"tools": [{"name": "note"}, {"name": "erase"}]}
        return {}

    async def events(self, messages: list[dict[str, Any]]) -> Any:
        for message in messages:
            yield f"event: message\r\ndata: {json.dumps(message)}\r\n\r\n"
            await asyncio.sleep(0)


@contextmanager
def listening(server: Server) -> Iterator[str]:
    app = Starlette(routes=[Route("/mcp", server.handle, methods=["GET", "POST", "DELETE"])])
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            thread.join(0.01)
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}/mcp"
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server, and the address of the proxy in front of it."""
    server, data = Server(), tmp_path_factory.mktemp("data")
    with listening(server) as url, proxy(url, data) as at:
        yield server, at


@contextmanager
def proxy(url: str, data: Path) -> Iterator[str]:
    env = {**os.environ, "VAULTAK_DATA_DIR": str(data), "VAULTAK_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    blocked = ["--block", "tool:erase", "--block", "tool:sampling/*", "--mode", "block"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultak", "mcp-proxy", *blocked, "--url", url],
        stderr=subprocess.PIPE,
        env=env,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "http://127.0.0.1" in line)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield line.split(": ")[1].strip() + "/mcp"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["json", "events"])
def server(behind: tuple[Server, str], request: pytest.FixtureRequest) -> Server:
    found = behind[0]
    found.did, found.heard, found.ahead, found.streams = [], [], [], request.param == "events"
    return found


@pytest.fixture
def client(behind: tuple[Server, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=behind[1], headers={"accept": "application/json, text/event-stream"}) as made:
        yield made


def messages(answer: httpx.Response) -> list[dict[str, Any]]:
    if answer.headers["content-type"].startswith("text/event-stream"):
        return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    return [answer.json()]


def ask(client: httpx.Client, method: str, **params: Any) -> list[dict[str, Any]]:
    answer = client.post("", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    assert answer.status_code == 200, answer.text
    return messages(answer)


def test_what_is_allowed_passes_and_what_is_not_never_reaches_the_server(server: Server, client: httpx.Client) -> None:
    assert ask(client, "tools/call", name="note", arguments={})[-1]["result"]["content"][0]["text"] == "done"
    assert ask(client, "tools/call", name="erase", arguments={})[-1]["result"]["isError"]
    assert server.did == ["note"]


def test_a_session_is_the_servers(server: Server, client: httpx.Client) -> None:
    answer = client.post("", json={"jsonrpc": "2.0", "id": 1, "method": "initialize"})
    assert answer.headers["mcp-session-id"] == "s-1"
    assert client.post("", json={"jsonrpc": "2.0", "method": "notifications/initialized"}).status_code == 202
    assert server.heard == [{"jsonrpc": "2.0", "method": "notifications/initialized"}]
    gone = client.post("", json={"jsonrpc": "2.0", "id": 1, "method": "gone"})
    assert (gone.status_code, gone.json()) == (404, {"detail": "no such session"})
    assert client.delete("").status_code == 204


def test_what_comes_ahead_of_an_answer_comes_through(server: Server, client: httpx.Client) -> None:
    server.ahead = [{"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": n}} for n in range(3)]
    server.streams = True
    found = ask(client, "tools/call", name="note", arguments={})
    assert [message.get("params", {}).get("progress") for message in found] == [0, 1, 2, None]


def test_what_a_server_asks_of_the_model_is_judged(server: Server, client: httpx.Client) -> None:
    server.ahead = [{"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage", "params": {}}]
    server.streams = True
    assert [message["id"] for message in ask(client, "tools/call", name="note", arguments={})] == [1]
    assert "Not allowed" in server.heard[0]["error"]["message"]
    with client.stream("GET", "") as answer:
        assert answer.read() == b""
    assert len(server.heard) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"method":"tools/call","params":{"name":"erase"}}',
        b'{"method":"ping","method":"tools/call","id":1}',
    ],
)
def test_what_is_no_single_message_is_refused(server: Server, client: httpx.Client, body: bytes) -> None:
    assert client.post("", content=body).status_code == 400
    assert server.did == []


@pytest.mark.parametrize("header", [{"host": "evil.example"}, {"origin": "https://evil.example"}])
def test_a_page_in_a_browser_does_not_get_in(server: Server, client: httpx.Client, header: dict[str, str]) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "note"}}
    assert client.post("", json=call, headers=header).status_code == 403
    assert server.did == []


def test_a_server_that_is_away_is_said(tmp_path: Path) -> None:
    with proxy("http://127.0.0.1:9/mcp", tmp_path) as at:
        answer = httpx.post(at, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert answer.status_code == 502
        assert "cannot be reached" in answer.text
