"""`vaultak rollback` finishes what an agent that has died can no longer undo itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from sdk.operator_side import read_events
from streams.test_cli import NOWHERE, vaultak
from vaultak.config import Settings
from vaultak.publish.spool import orphans
from vaultak.undo import UndoLog, agent_directory
from vaultak.wire import Event, Outcome, Topics, decode_event
from vaultak_devstack.broker import Broker

AGENT = "an agent/with: odd name"


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """The data directory of an agent that deleted three files and died."""
    files = [tmp_path / f"file-{n}" for n in range(3)]
    log = UndoLog(agent_directory(tmp_path, AGENT) / "run-1", AGENT)
    for n, path in enumerate(files):
        path.write_text(f"content {n}")
        log.before_delete(f"action-{n}", str(path))
        path.unlink()
        log.after(f"action-{n}")
    log.close()
    return tmp_path


def test_a_dry_run_says_what_would_be_done_and_does_nothing(ended: Path) -> None:
    shown = vaultak("rollback", AGENT, "--dry-run", "--json", VAULTAK_DATA_DIR=str(ended), **NOWHERE)
    assert shown.returncode == 0, shown.stderr
    assert [step["action_id"] for step in json.loads(shown.stdout)] == ["action-2", "action-1", "action-0"]
    assert not list(ended.glob("file-*"))


def test_the_last_actions_are_reversed_even_without_a_broker(ended: Path) -> None:
    arguments = ("rollback", AGENT, "--last", "2", "--json")
    done = vaultak(*arguments, VAULTAK_DATA_DIR=str(ended), **NOWHERE)
    assert done.returncode == 0, done.stderr
    assert [(step["action_id"], step["status"]) for step in json.loads(done.stdout)] == [
        ("action-2", "reversed"),
        ("action-1", "reversed"),
    ]
    assert sorted(path.name for path in ended.glob("file-*")) == ["file-1", "file-2"]
    assert (ended / "file-2").read_text() == "content 2"


def reversed_ids(events: Iterable[Event]) -> list[str]:
    return [e.action_id for e in events if isinstance(e, Outcome) and e.status == "reversed"]


def test_without_a_broker_the_audit_gets_to_know_later(ended: Path) -> None:
    done = vaultak("rollback", AGENT, VAULTAK_DATA_DIR=str(ended), **NOWHERE)
    assert "the audit does not have these 3 outcomes yet" in done.stderr
    (spool,) = orphans(Settings.from_env({"VAULTAK_DATA_DIR": str(ended)}).spool_dir, None)
    messages, _ = spool.peek(100)
    spool.close()
    events = [decode_event(message.value)[0] for message in messages]
    assert reversed_ids(events) == ["action-2", "action-1", "action-0"]
    assert {event.agent_id for event in events} == {AGENT}
    assert [event.seq for event in events] == [0, 1, 2]


@pytest.mark.stack
async def test_the_audit_shows_what_was_reversed(ended: Path, broker: Broker, topics: Topics) -> None:
    done = await asyncio.to_thread(
        vaultak, "rollback", AGENT, "--wait", "1", VAULTAK_DATA_DIR=str(ended),
        VAULTAK_BOOTSTRAP_SERVERS=broker.bootstrap_servers, VAULTAK_TOPIC_PREFIX=topics.prefix,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the audit does not have" not in done.stderr
    assert reversed_ids(await read_events(broker.bootstrap_servers, topics)) == ["action-2", "action-1", "action-0"]


def test_what_could_not_be_reversed_is_an_error_with_the_reason(ended: Path) -> None:
    (ended / "file-2").write_text("somebody else's")
    vaultak("rollback", AGENT, "--last", "1", VAULTAK_DATA_DIR=str(ended), **NOWHERE)
    (spool,) = orphans(Settings.from_env({"VAULTAK_DATA_DIR": str(ended)}).spool_dir, None)
    (message,), _ = spool.peek(100)
    spool.close()
    event = decode_event(message.value)[0]
    assert isinstance(event, Outcome)
    assert (event.action_id, event.status) == ("action-2", "error")
    assert "conflict: " in event.error


def test_an_agent_that_left_nothing_is_said(tmp_path: Path) -> None:
    shown = vaultak("rollback", "nobody", "--dry-run", VAULTAK_DATA_DIR=str(tmp_path), **NOWHERE)
    assert "nothing to reverse" in shown.stderr or "left anything to reverse" in shown.stderr
