"""The demonstration, step by step. It tells what it reads back, and fails when any of it did not happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from vaultak.config import Settings
from vaultak.wire import Command, CommandType
from vaultak_streams.demo import evidence, workplace
from vaultak_streams.demo.crew import Agent, DemoError
from vaultak_streams.operate import Delivery, send_command
from vaultak_streams.store.client import Store

CULPRIT = "housekeeper"
ROUNDS = {"report-writer": 40, "support-bot": 40, CULPRIT: 40}
"""Rounds of ordinary work, two to four actions each: enough for a baseline of one's own."""

Tell = Callable[[str], None]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, each part read back from the audit store, the file system or the agent itself."""

    fleet: list[dict[str, Any]]
    blocked: str
    verdict: dict[str, Any]
    response: dict[str, Any]
    emit_to_verdict_ms: float
    emit_to_applied_ms: float
    removed: int
    restored: int
    differing: list[str]
    killed: str
    kill_answers: int
    trail: list[dict[str, Any]]


def run(root: Path, settings: Settings, store: Store, sign: Callable[[Command], Command], tell: Tell) -> Account:
    """Play the scene on a running stack. Raises `DemoError` where it does not go as it must."""
    place = root / "workplace"
    workplace.build(place)
    before = workplace.fingerprint(place, "customers")
    agents = _start(root, place, settings)
    tell(f"{len(agents)} agents at work: {', '.join(agents)}")
    culprit = agents[CULPRIT]
    expected = {role: agent.wait_for("work_done", timeout_s=90)["actions"] for role, agent in agents.items()}
    fleet = evidence.wait_until(
        "every action of the ordinary work has its verdict in ClickHouse",
        lambda: evidence.work_is_judged(store, expected),
        timeout_s=60,
    )
    tell(f"ordinary work judged: {sum(row['actions'] for row in fleet)} actions; now the housekeeper reads its inbox")
    harm_began = time.time()
    culprit.signal()
    blocked = culprit.wait_for("blocked", timeout_s=20)["error"]
    response = evidence.wait_until(
        "the housekeeper's recent actions are rolled back",
        lambda: evidence.acknowledged(store, CULPRIT, "rollback"),
        timeout_s=30,
    )
    verdict = evidence.wait_until(
        "the verdict that led to the rollback is stored",
        lambda: evidence.verdict_of(store, response["action_id"]),
        timeout_s=10,
    )
    after = workplace.fingerprint(place, "customers")
    delivery = asyncio.run(
        send_command(settings, sign, CULPRIT, CommandType.KILL, reason="the demo's operator ends it", issued_by="demo")
    )
    stopped = culprit.wait_for("stopped", "harm_done", timeout_s=20)
    if stopped["milestone"] != "stopped":
        raise DemoError(f"the housekeeper removed all {stopped['removed']} files: nothing stopped it")
    culprit.finish(timeout_s=20)
    return Account(
        fleet=fleet,
        blocked=blocked,
        verdict=verdict,
        response=response,
        emit_to_verdict_ms=_ms(verdict["ts"], verdict["scored_ts"]),
        emit_to_applied_ms=_ms(verdict["ts"], response["answered"]),
        removed=stopped["removed"],
        restored=sum(after.get(name) == digest for name, digest in before.items()),
        differing=sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)),
        killed=stopped["error"],
        kill_answers=_applied(delivery),
        trail=evidence.wait_until(
            "the rolled back actions show as reversed in the audit",
            lambda: _reversed_trail(store, harm_began, stopped["removed"]),
            timeout_s=20,
        ),
    )


def _start(root: Path, place: Path, settings: Settings) -> dict[str, Agent]:
    env = {
        "VAULTAK_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "VAULTAK_TOPIC_PREFIX": settings.topics.prefix,
        "VAULTAK_DATA_DIR": str(settings.data_dir),
    }
    return {
        role: Agent(role, place, rounds, {**env, "VAULTAK_SPOOL_DIR": str(root / "spool" / role)}, root / f"{role}.log")
        for role, rounds in ROUNDS.items()
    }


def _reversed_trail(store: Store, since: float, removed: int) -> list[dict[str, Any]] | None:
    found = evidence.trail(store, CULPRIT, since, limit=200)
    undone = [row for row in found if row["outcome_status"] == "reversed"]
    return found if len(undone) >= removed else None


def _applied(delivery: Delivery) -> int:
    return sum(ack.result == "applied" for ack in delivery.acks)


def _ms(start: Any, end: Any) -> float:
    return float((end - start).total_seconds() * 1000)
