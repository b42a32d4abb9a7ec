"""A server as a child process, its client on our own standard streams."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from vaultak.mcp_proxy.gate import Gate
from vaultak.mcp_proxy.relay import Relay, Send

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""A longer message is dropped: the connection goes on behind it."""

STOP_S: Final = 2.0
LOOK_EVERY_S: Final = 0.1


async def serve(command: Sequence[str], gate: Gate) -> int:
    """Run the server until it ends or its client does; its exit code. Raises `OSError` when it cannot be started."""
    server = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=MAX_LINE_BYTES
    )
    assert server.stdin is not None
    assert server.stdout is not None
    relay = Relay(gate, await _own_output(), _into(server.stdin))
    own_input = await _own_input()
    client = asyncio.create_task(_each(own_input, relay.from_client, relay, "client"))
    upstream = asyncio.create_task(_each(server.stdout, relay.from_server, relay, "server"))
    killed = asyncio.create_task(_killed(gate))
    await asyncio.wait({client, upstream, killed}, return_when=asyncio.FIRST_COMPLETED)
    if killed.done():
        server.kill()
        await relay.end("the agent is killed")
    elif client.done():
        server.stdin.close()  # the protocol's own way to say that it is over
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(upstream, STOP_S)
    else:
        await relay.end("the server has ended")
    for task in (client, upstream, killed):
        task.cancel()
    await _ended(server)
    return server.returncode if server.returncode is not None and server.returncode >= 0 else 1


async def _killed(gate: Gate) -> None:
    while not gate.is_killed:  # noqa: ASYNC110 - a monitor has a state, not an event
        await asyncio.sleep(LOOK_EVERY_S)


async def _ended(server: asyncio.subprocess.Process) -> None:
    for stop in (None, server.terminate, server.kill):
        if stop is not None:
            with contextlib.suppress(ProcessLookupError):
                stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait(), STOP_S)
            return


async def _each(stream: asyncio.StreamReader, take: Send, relay: Relay, who: str) -> None:
    async for line in _lines(stream, lambda: relay.counters.update([f"{who}.too_long"])):
        if line.strip():
            await take(line.rstrip(b"\r\n"))


async def _lines(stream: asyncio.StreamReader, dropped: Callable[[], None]) -> AsyncIterator[bytes]:
    passing = False
    while True:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.LimitOverrunError as e:
            await stream.readexactly(e.consumed)
            passing = True
            continue
        except asyncio.IncompleteReadError as e:
            if e.partial and not passing:
                yield e.partial
            return
        if passing:
            passing = False
            dropped()
            continue
        yield line


def _into(stream: asyncio.StreamWriter) -> Send:
    async def send(message: bytes) -> None:
        stream.write(message + b"\n")
        with contextlib.suppress(ConnectionError):  # it has ended: its output says so
            await stream.drain()

    return send


async def _own_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    return reader


async def _own_output() -> Send:
    """Writes in a thread: standard output may be a file or a pipe that nobody reads."""
    lock, out = asyncio.Lock(), sys.stdout.buffer

    def write(message: bytes) -> None:
        out.write(message + b"\n")
        out.flush()

    async def send(message: bytes) -> None:
        async with lock:
            with contextlib.suppress(BrokenPipeError):
                await asyncio.to_thread(write, message)

    return send
