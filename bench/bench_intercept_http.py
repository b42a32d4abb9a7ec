"""What judging HTTP requests costs: an aiohttp loop against a loopback server, bare, installed but idle, and governed.

Each way runs in a process of its own: the interceptors cannot be removed once they are there. The server is a process
of its own too, and the ways take turns, so that a busy machine disturbs all of them alike.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from typing import IO, Any

import aiohttp
from aiohttp import web

from bench.timing import Sample, compare, say

ROUNDS, REQUESTS, WARMUP = 60, 100, 500
WAYS = ("bare", "idle", "governed")


def main() -> None:
    """Print the time of a request in each way, beside the bare one."""
    with subprocess.Popen(
        [sys.executable, "-m", __spec__.name, "--serve"], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            port = _line(server.stdout)
            samples = _take_turns(port)
        finally:
            server.terminate()
    compare("an HTTP GET by aiohttp over the loopback", samples, baseline=samples[0].name)


def _take_turns(port: str) -> list[Sample]:
    command = [sys.executable, "-m", __spec__.name, "--child"]
    workers = {
        way: subprocess.Popen([*command, way, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for way in WAYS
    }
    values: dict[str, list[float]] = {way: [] for way in WAYS}
    try:
        for _ in range(ROUNDS):
            for way, worker in workers.items():
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
                values[way].append(float(_line(worker.stdout)))
    finally:
        for worker in workers.values():
            worker.communicate()
    return [Sample(f"aiohttp, {way}", sorted(values[way])) for way in WAYS]


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    line = stream.readline().strip()
    if not line:
        raise RuntimeError("a child of the benchmark ended early")
    return line


async def _serve() -> None:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/page", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    say(str(runner.addresses[0][1]))
    await asyncio.Event().wait()


async def _work(url: str, governed: Any) -> None:
    """One round for each line that comes in; microseconds a request go out."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session:
        await _loop(session, url, WARMUP)
        while await loop.run_in_executor(None, sys.stdin.readline):
            with governed():
                start = time.perf_counter()
                await _loop(session, url, REQUESTS)
                took_s = time.perf_counter() - start
            say(f"{took_s / REQUESTS * 1e6:.2f}")


async def _loop(session: aiohttp.ClientSession, url: str, n: int) -> None:
    for _ in range(n):
        async with session.get(url) as response:
            await response.read()


def _child(way: str, port: str) -> None:
    url = f"http://127.0.0.1:{port}/page"
    if way == "bare":
        asyncio.run(_work(url, nullcontext))
        return
    from vaultak.intercept import install

    install()
    if way == "idle":
        asyncio.run(_work(url, nullcontext))
        return
    from vaultak import Vaultak
    from vaultak.testing import RecordingPublisher

    logging.getLogger("vaultak").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as data, _client(data, Vaultak, RecordingPublisher()) as vt:
        asyncio.run(_work(url, lambda: vt.monitor("bench")))


def _client(data: str, make: Any, publisher: Any) -> Any:
    os.environ["VAULTAK_DATA_DIR"] = data
    blocked = [f"https://blocked{i}.example/*" for i in range(200)]
    return make(blocked_resources=blocked, max_risk_score=1.0, rollback_limit=0, publisher=publisher)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(_serve())
    elif "--child" in sys.argv:
        _child(*sys.argv[sys.argv.index("--child") + 1 :])
    else:
        main()
