"""The pipeline: what runs, what lags, what was dropped, what could not be used."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vaultak.wire.codec import UNREADABLE
from vaultak_streams.console import queries
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.rendering import page
from vaultak_streams.health import STATUS_STALE_S, Finding, examine

EXAMINED_FOR_S = 5.0
"""An examination opens connections: one serves everybody for so long."""

LETTERS = 50
MAX_PROCESSES = 200
MAX_STATUS_BYTES = 256 * 1024


class Process(msgspec.Struct):
    """What a worker or the sink says of itself, as far as both say it."""

    name: str = ""
    state: str = ""
    detail: str = ""
    lag: int = 0
    records: int = 0
    rows: int = 0
    undecodable: int = 0
    unstorable: int = 0
    agents: int = 0
    restarts: int = 0
    counters: dict[str, int] = {}
    silent_s: float = 0.0

    @property
    def well(self) -> bool:
        return self.state == "running" and self.silent_s <= STATUS_STALE_S

    @property
    def seen(self) -> int:
        return self.records or self.counters.get("records", 0)

    @property
    def dropped(self) -> int:
        """What it could not use, all of it kept as dead letters."""
        letters = sum(n for name, n in self.counters.items() if name.startswith("dead_letters."))
        return self.undecodable + self.unstorable + letters


class Examination:
    """The findings of `vaultak doctor`, asked for at most every few seconds."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = asyncio.Lock()
        self._at = float("-inf")
        self._findings: list[Finding] = []

    async def findings(self) -> list[Finding]:
        async with self._lock:
            if time.monotonic() - self._at > EXAMINED_FOR_S:
                self._findings = await examine(self._desk.settings)
                self._at = time.monotonic()
            return self._findings


def routes(desk: Desk) -> list[Route]:
    examination = Examination(desk)

    async def show(request: Request) -> Response:
        ask = desk.reader.ask
        freshness, counts, letters, minutes, processes = await asyncio.gather(
            ask(queries.freshness),
            ask(queries.dead_letter_counts),
            ask(queries.dead_letters, LETTERS),
            ask(queries.totals),
            asyncio.to_thread(_processes, desk.settings.data_dir),
        )
        return page(
            request,
            "health.html",
            fresh=freshness,
            counts=counts,
            letters=letters,
            totals=minutes,
            processes=processes,
            lag=sum(process.lag for process in processes),
            dropped=sum(int(row["count"]) for row in counts),
        )

    async def findings(request: Request) -> Response:
        return page(request, "findings.html", findings=await examination.findings())

    return [Route("/health", show), Route("/health/findings", findings)]


def _processes(data_dir: Path) -> list[Process]:
    """Every worker and sink that wrote its status on this machine; an unreadable one is shown as that."""
    found = []
    for path in sorted((data_dir / "status").glob("*.json"))[:MAX_PROCESSES]:
        try:
            with path.open("rb") as file:
                process = msgspec.json.decode(file.read(MAX_STATUS_BYTES), type=Process)
            process.silent_s = max(0.0, time.time() - path.stat().st_mtime)
        except (OSError, *UNREADABLE) as e:
            process = Process(name=path.stem, state="unreadable", detail=str(e))
        found.append(process)
    return found
