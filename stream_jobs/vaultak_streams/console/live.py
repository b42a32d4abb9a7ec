"""The live page: one look at the store serves everybody who watches, by server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from vaultak_streams.store.errors import StoreError

log = structlog.get_logger("vaultak.console")

EVERY_S = 2.0
REST = 4
"""A look that takes long is followed by a rest so many times as long: watching never takes the store's best part."""

KEEPALIVE_S = 15.0
"""A comment is sent when nothing has changed for so long: proxies close what is silent."""

MAX_WATCHERS = 100


class Live:
    """Renders while somebody watches; sends only what has changed. A watcher that is slow misses steps, never more."""

    def __init__(self, render: Callable[[], Awaitable[str]], every_s: float = EVERY_S) -> None:
        self._render = render
        self._every_s = every_s
        self._latest = ""
        self._version = 0
        self._changed = asyncio.Condition()
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def routes(self) -> list[Route]:
        return [Route("/live", self.stream)]

    async def stream(self, request: Request) -> Response:
        if self._watchers >= MAX_WATCHERS:
            return PlainTextResponse("too many watch already; reload to see the newest\n", 503)
        return StreamingResponse(
            self._events(request), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )

    async def close(self) -> None:
        """Let every watcher go."""
        self._closing = True
        if self._task:
            self._task.cancel()
        async with self._changed:
            self._changed.notify_all()

    async def _events(self, request: Request) -> AsyncIterator[str]:
        self._watchers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(), name="console-live")
        try:
            yield "retry: 3000\n\n"
            seen = 0
            while not self._closing and not await request.is_disconnected():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(KEEPALIVE_S), self._changed:
                        await self._changed.wait_for(lambda seen=seen: self._version != seen or self._closing)  # type: ignore[misc]
                if self._version == seen:
                    yield ": still here\n\n"
                    continue
                seen = self._version
                yield _event("fleet", self._latest)
        finally:
            self._watchers -= 1

    async def _look(self) -> None:
        while self._watchers:
            started = time.monotonic()
            try:
                rendered = await self._render()
            except StoreError as e:
                log.warning("the live page waits for the store", error=str(e))
            else:
                if rendered != self._latest:
                    async with self._changed:
                        self._latest = rendered
                        self._version += 1
                        self._changed.notify_all()
            await asyncio.sleep(max(self._every_s, REST * (time.monotonic() - started)))


def _event(name: str, text: str) -> str:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() if line.strip())
    return f"event: {name}\n{lines}\n"
