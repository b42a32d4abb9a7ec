"""The gateway's parts and their life: publisher, agents, verdicts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Self

import structlog
from prometheus_client.core import Metric

from vaultak.config import Settings
from vaultak.policy import PolicySettings
from vaultak.policy.evaluate import CompiledPolicy
from vaultak.publish import Publisher
from vaultak.redact import Redactor
from vaultak_streams.gateway.intake import Intake
from vaultak_streams.gateway.keys import ApiKeys, keys_path
from vaultak_streams.gateway.member import Member
from vaultak_streams.gateway.members import Members
from vaultak_streams.gateway.options import GatewayOptions
from vaultak_streams.gateway.verdicts import Recent, VerdictFollower
from vaultak_streams.metrics import gateway as meters
from vaultak_streams.sink.sink import write_status

log = structlog.get_logger("vaultak.gateway")

FLUSH_S = 5.0
"""How long it waits for the broker when it ends; what is left stays on disk for the next one."""
TICK_S = 1.0


def gateway_status_path(settings: Settings) -> Path:
    return settings.data_dir / "status" / "gateway.json"


class Gateway:
    """One process's gateway. An async context: within it, requests are served."""

    def __init__(self, settings: Settings, options: GatewayOptions, policy: PolicySettings) -> None:
        self.settings, self.options = settings, options
        self.keys = ApiKeys(options.keys or keys_path(settings.data_dir))
        self.publisher = Publisher(settings)
        self._policy, self._redactor = CompiledPolicy(policy), Redactor()
        self._recent = Recent()
        self.members = Members(self._make, options.max_agents)
        self.intake = Intake(self.members, self._recent, self.publisher, options)
        self.follower = VerdictFollower(settings, self._recent)
        self.stopping = False
        self.flush_s = FLUSH_S
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._moved_s = time.monotonic()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(self.follower.run()), asyncio.create_task(self._tick())]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        write_status(gateway_status_path(self.settings), self._status())
        await self.members.close()
        await asyncio.to_thread(self.publisher.close, self.flush_s)

    def _make(self, agent_id: str) -> Member:
        """In a thread."""
        assert self._loop is not None
        call_soon = self._loop.call_soon_threadsafe
        return Member(self.settings, agent_id, self._policy, self.publisher, self._redactor, call_soon)

    @contextlib.asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Within: one request more waits."""
        self.intake.waiting += 1
        try:
            yield
        finally:
            self.intake.waiting -= 1

    async def _tick(self) -> None:
        while True:
            self._moved_s = time.monotonic()
            write_status(gateway_status_path(self.settings), self._status())
            await asyncio.sleep(TICK_S)

    def _status(self) -> dict[str, Any]:
        """For `vaultak doctor` and the console."""
        counts, stats = self.intake.counts, self.publisher.stats
        return {
            "name": "gateway",
            "state": "stopped" if self.stopping else "waiting" if self.not_ready() else "running",
            "detail": stats.last_error[:200] if self.not_ready() else "",
            "records": counts.actions + counts.outcomes + counts.contexts,
            "agents": len(self.members),
            "counters": {"actions": counts.actions, "duplicates": counts.duplicates},
        }

    # -- what others see ---------------------------------------------------------------------------------------

    def not_ready(self) -> str:
        """Why verdicts do not come; empty: they do. Actions are judged and recorded all the same."""
        return "" if self.follower.following.is_set() else "the broker does not answer"

    def silent_s(self) -> float:
        """For how long its loop has not moved."""
        return time.monotonic() - self._moved_s

    def families(self) -> Iterable[Metric]:
        """Its metrics, as of now."""
        return meters.families(self.intake, len(self.members), self.members.forgotten, self.publisher.stats)
