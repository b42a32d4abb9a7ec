"""Between the lines of a client and those of a server (stdio): messages pass as they are, but for what is judged."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from vaultak.mcp_proxy.gate import ASKS, JUDGED, Gate
from vaultak.mcp_proxy.messages import INVALID_REQUEST, REFUSED, Id, Message, UnreadableError, error, read

log = logging.getLogger("vaultak.mcp")

MAX_OUTSTANDING: Final = 1000
"""Requests of one side without an answer; beyond it they are refused."""

Send = Callable[[bytes], Awaitable[None]]


class Relay:
    """One connection. `to_client` and `to_server` take a message without its line end; called from one event loop.

    `counters`: `client.unreadable`, `server.unreadable`, `server.unasked` (answers nobody waits for: dropped).
    """

    def __init__(self, gate: Gate, to_client: Send, to_server: Send) -> None:
        self._gate = gate
        self._to_client, self._to_server = to_client, to_server
        self._waiting: dict[Id, asyncio.Future[Message]] = {}
        self._tasks: dict[Id, asyncio.Task[None]] = {}
        self._asked: set[Id] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self.counters: Counter[str] = Counter()

    async def from_client(self, raw: bytes) -> None:
        try:
            message = read(raw)
        except UnreadableError as e:
            self.counters["client.unreadable"] += 1
            await self._to_client(error(None, e.code, str(e)))
            return
        if message.method and message.id is not None:
            await self._request(message, message.id)
        elif message.method in JUDGED:
            self.counters["client.unreadable"] += 1
            await self._to_client(error(None, INVALID_REQUEST, f"`{message.method}` needs an id"))
        elif message.method == "notifications/cancelled":
            await self._cancel(message)
        elif message.method or message.id in self._asked:
            self._asked.discard(message.id or "")
            await self._to_server(message.raw)
        else:
            self.counters["client.unreadable"] += 1

    async def from_server(self, raw: bytes) -> None:
        try:
            message = read(raw)
        except UnreadableError as e:
            self.counters["server.unreadable"] += 1
            log.warning("the server sent what is no message: %s", e)
            return
        if message.method and message.id is not None:
            self._ask(message, message.id)
        elif message.method:
            await self._to_client(message.raw)
        elif (waiting := self._waiting.pop(message.id, None) if message.id is not None else None) is not None:
            if not waiting.done():
                waiting.set_result(message)
        elif message.id is None and "error" in message.members:
            await self._to_client(message.raw)
        else:
            self.counters["server.unasked"] += 1

    async def end(self, why: str) -> None:
        """Answer everything that waits: there will be no other answer."""
        tasks, self._tasks = self._tasks, {}
        for task in [*tasks.values(), *self._asking]:
            task.cancel()
        await asyncio.gather(*tasks.values(), *self._asking, return_exceptions=True)
        for message_id in tasks:
            await self._to_client(error(message_id, REFUSED, why))

    # -- the client's requests ---------------------------------------------------------------------------------

    async def _request(self, message: Message, message_id: Id) -> None:
        if message_id in self._tasks:
            await self._to_client(error(message_id, INVALID_REQUEST, "this id is in use"))
        elif len(self._tasks) >= MAX_OUTSTANDING:
            await self._to_client(error(message_id, REFUSED, f"more than {MAX_OUTSTANDING} requests wait"))
        else:
            self._tasks[message_id] = asyncio.create_task(self._serve(message, message_id))

    async def _serve(self, message: Message, message_id: Id) -> None:
        try:
            answer = await self._gate.request(message, lambda: self._forward(message, message_id))
        except Exception as e:
            log.exception("a request of `%s` was refused for an error of the proxy's own", message.method)
            answer = error(message_id, REFUSED, f"refused: {type(e).__name__}")
        if self._tasks.pop(message_id, None) is not None:
            await self._to_client(answer)

    async def _forward(self, message: Message, message_id: Id) -> Message:
        waiting: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[message_id] = waiting
        try:
            await self._to_server(message.raw)
            return await waiting
        finally:
            self._waiting.pop(message_id, None)

    async def _cancel(self, message: Message) -> None:
        """What is still held is never sent; of what was sent the server is told."""
        cancelled = message.params.get("requestId")
        if not isinstance(cancelled, str | int):
            return
        if cancelled in self._waiting:
            await self._to_server(message.raw)
        if (task := self._tasks.pop(cancelled, None)) is not None:
            task.cancel()

    # -- the server's requests ---------------------------------------------------------------------------------

    def _ask(self, message: Message, message_id: Id) -> None:
        if len(self._asking) >= MAX_OUTSTANDING:
            self.counters["server.refused"] += 1
            return
        task = asyncio.create_task(self._pass_on(message, message_id))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _pass_on(self, message: Message, message_id: Id) -> None:
        """Judged where it asks something of the model or its user; the client's answer goes straight to the server."""

        async def forward() -> Message:
            self._asked.add(message_id)
            await self._to_client(message.raw)
            return Message({"result": None}, b"")

        refusal = await self._gate.ask(message, forward) if message.method in ASKS else (await forward()).raw
        if refusal:
            await self._to_server(refusal)
