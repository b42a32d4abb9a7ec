"""The agents that act through this gateway, as many as it can hold."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from vaultak_streams.gateway.member import Member


class Members:
    """Made on first use, one at a time for each id; the one that was silent longest makes room. On one event loop."""

    def __init__(self, make: Callable[[str], Member], limit: int) -> None:
        self._make, self._limit = make, limit
        self._members: OrderedDict[str, asyncio.Task[Member]] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._members)

    async def get(self, agent_id: str) -> Member:
        """The agent's member. Raises what making it raises; the next call tries again."""
        task = self._members.get(agent_id)
        if task is None:
            task = self._members[agent_id] = asyncio.create_task(asyncio.to_thread(self._make, agent_id))
            self._make_room()
        self._members.move_to_end(agent_id)
        try:
            return await asyncio.shield(task)
        except Exception:
            if self._members.get(agent_id) is task:
                del self._members[agent_id]
            raise

    def _make_room(self) -> None:
        """Let go of the oldest, but for those with actions that wait for an operator, unless all have."""
        while len(self._members) > self._limit:
            oldest = next((name for name, task in self._members.items() if _idle(task)), next(iter(self._members)))
            self.forgotten += 1
            closing = asyncio.create_task(_close(self._members.pop(oldest)))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close them all."""
        tasks = list(self._members.values())
        self._members.clear()
        await asyncio.gather(*(_close(task) for task in tasks), *self._closing, return_exceptions=True)


def _idle(task: asyncio.Task[Member]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None and not task.result().busy


async def _close(task: asyncio.Task[Member]) -> None:
    member = await task
    await asyncio.to_thread(member.close)
