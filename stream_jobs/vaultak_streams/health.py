"""What is reachable, configured and lagging, and what to do about it: the findings behind `vaultak doctor`."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from vaultak.config import Settings
from vaultak.errors import VaultakError
from vaultak.kafka_clients import client_kwargs
from vaultak_streams.store import queries
from vaultak_streams.store.client import connect

BROKER_TIMEOUT_S = 5.0
STATUS_STALE_S = 15.0
"""A worker or sink writes its status every second or so; one that has not for this long hangs or is gone."""

LAG_WARNING = 10_000


class Grade(enum.StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. `fix` says what to do where the grade is not `ok`."""

    subject: str
    grade: Grade
    detail: str
    fix: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything, one after the other; a part that is away does not hide the others."""
    findings = [*_configuration(settings)]
    findings += [finding async for finding in _broker(settings)]
    findings += await asyncio.to_thread(lambda: list(_clickhouse(settings)))
    findings += _processes(settings)
    findings += _spool(settings)
    return findings


def _configuration(settings: Settings) -> Iterator[Finding]:
    yield Finding("data directory", Grade.OK, str(settings.data_dir))
    key = settings.data_dir / "keys" / "control.key"
    if not key.exists():
        yield Finding(
            "signing key", Grade.WARN, f"none at {key}", "`vaultak up` or `vaultak worker` makes one at its first start"
        )
    elif key.stat().st_mode & 0o077:
        yield Finding("signing key", Grade.FAIL, f"{key} is readable by others", f"chmod 600 {key}")
    else:
        yield Finding("signing key", Grade.OK, "present, private")


async def _broker(settings: Settings) -> AsyncIterator[Finding]:
    admin = AIOKafkaAdminClient(**client_kwargs(settings), request_timeout_ms=int(BROKER_TIMEOUT_S * 1000))
    start = time.perf_counter()
    try:
        await asyncio.wait_for(admin.start(), BROKER_TIMEOUT_S)
        there = set(await asyncio.wait_for(admin.list_topics(), BROKER_TIMEOUT_S))
    except (KafkaError, OSError, TimeoutError) as e:
        yield Finding(
            "broker",
            Grade.FAIL,
            f"{settings.bootstrap_servers} does not answer ({type(e).__name__})",
            "start one with `vaultak up`, or set VAULTAK_BOOTSTRAP_SERVERS; agents go on and spool meanwhile",
        )
        return
    finally:
        with contextlib.suppress(Exception):
            await admin.close()
    yield Finding("broker", Grade.OK, f"{settings.bootstrap_servers}, {(time.perf_counter() - start) * 1000:.0f} ms")
    if missing := [topic for topic in settings.topics.all() if topic not in there]:
        yield Finding(
            "topics",
            Grade.FAIL,
            f"missing: {', '.join(missing)}",
            "`vaultak up` creates them; see infra/kafka/topics.yaml",
        )
    else:
        yield Finding("topics", Grade.OK, f"all {len(settings.topics.all())} there, prefix `{settings.topics.prefix}`")


def _clickhouse(settings: Settings) -> Iterator[Finding]:
    if not settings.clickhouse_dsn:
        yield Finding(
            "clickhouse", Grade.FAIL, "nothing says where it is", "set VAULTAK_CLICKHOUSE_DSN or run `vaultak up`"
        )
        return
    try:
        with connect(settings.clickhouse_dsn) as store:
            counts = queries.sql_passthrough(store, _COUNTS).records()[0]
            dead = queries.dead_letter_counts(store)
            yield Finding(
                "clickhouse", Grade.OK, f"{counts['actions']:,} actions, {counts['unjudged']:,} without verdict"
            )
            yield from _dead_letters(dead.records())
    except VaultakError as e:
        yield Finding(
            "clickhouse", Grade.FAIL, str(e), "is the server up, are the migrations applied? `vaultak up` does both"
        )


_COUNTS = "SELECT count() AS actions, countIf(decision IS NULL OR decision = '') AS unjudged FROM vaultak.actions"


def _dead_letters(counts: list[dict[str, Any]]) -> Iterator[Finding]:
    if not counts:
        yield Finding("dead letters", Grade.OK, "none")
    for row in counts:
        yield Finding(
            "dead letters",
            Grade.WARN,
            f"{row['count']:,} x {row['reason']}, last {row['last_seen']:%Y-%m-%d %H:%M:%S}",
            "vaultak audit query --sql 'SELECT ts, reason, detail FROM vaultak.dead_letters ORDER BY ts DESC LIMIT 10'",
        )


def _processes(settings: Settings) -> Iterator[Finding]:
    files = sorted((settings.data_dir / "status").glob("*.json"))
    if not files:
        yield Finding("worker and sink", Grade.WARN, "none runs here", "`vaultak up`, or `vaultak worker` on any host")
    for path in files:
        yield _process(path)


def _process(path: Path) -> Finding:
    try:
        status = json.loads(path.read_text())
        age_s = time.time() - path.stat().st_mtime
    except (OSError, ValueError) as e:
        return Finding(path.stem, Grade.WARN, f"status not readable: {e}")
    counters = {**status, **status.get("counters", {})}
    figures = ", ".join(f"{name} {counters[name]:,}" for name in _FIGURES if counters.get(name) is not None)
    text = f"{status.get('state', '?')}; {figures}" + (f"; {status['detail']}" if status.get("detail") else "")
    if age_s > STATUS_STALE_S:
        return Finding(
            path.stem, Grade.WARN, f"silent for {age_s:.0f} s, was {text}", "it has ended or hangs; see its log"
        )
    if status.get("state") != "running":
        return Finding(path.stem, Grade.WARN, text, "it waits for what it needs; the lines above say what is away")
    if not status.get("store_up", True):
        return Finding(
            path.stem, Grade.WARN, f"{text}; ClickHouse is away", "nothing is lost: it goes on when the store is back"
        )
    if path.stem == "alerts" and status.get("detail"):
        return Finding(path.stem, Grade.WARN, text, "it is tried again; `vaultak alerts test` tries each destination")
    if status.get("lag", 0) > LAG_WARNING:
        return Finding(path.stem, Grade.WARN, text, "it falls behind: add workers (`vaultak worker -n`)")
    return Finding(path.stem, Grade.OK, text)


_FIGURES = (
    *("lag", "records", "actions", "verdicts", "rows", "dead_letters", "undecodable", "unstorable"),
    *("store_retries", "duplicates", "agents", "restarts"),
)


def _spool(settings: Settings) -> Iterator[Finding]:
    waiting = (
        sum(f.stat().st_size for f in settings.spool_dir.rglob("*") if f.is_file())
        if settings.spool_dir.is_dir()
        else 0
    )
    yield Finding("spool", Grade.OK, f"{settings.spool_dir}, {waiting / 2**20:.1f} MiB on disk")
