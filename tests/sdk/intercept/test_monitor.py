"""Interception through the public surface: a real monitor, its policy and its audit trail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultak import ActionBlockedError, KillSwitchMode, Vaultak
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, Outcome, OutcomeStatus


@pytest.fixture
def published() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def vt(published: RecordingPublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vaultak]:
    monkeypatch.setenv("VAULTAK_DATA_DIR", str(tmp_path / "data"))
    with Vaultak(
        blocked_resources=["*.env", "process:*/touch"],
        mode=KillSwitchMode.BLOCK,
        max_risk_score=1.0,
        rollback_limit=0,
        publisher=published,
    ) as client:
        yield client


def test_what_policy_blocks_has_not_happened_and_the_rest_has(
    vt: Vaultak, published: RecordingPublisher, tmp_path: Path
) -> None:
    secret = tmp_path / "prod.env"
    secret.write_text("SECRET=1")
    with vt.monitor("agent-under-test") as m:
        (tmp_path / "report.txt").write_text("fine")
        for attempt in (
            lambda: os.remove(secret),
            secret.read_text,
            lambda: secret.write_text("gone"),
            lambda: subprocess.run(["touch", tmp_path / "made"]),
        ):
            with pytest.raises(ActionBlockedError):
                attempt()
    assert secret.read_text() == "SECRET=1"
    assert (tmp_path / "report.txt").read_text() == "fine"
    assert not (tmp_path / "made").exists()
    assert [(entry.action_type, entry.decision, entry.status) for entry in m.audit_trail()] == [
        ("file_write", "allow", OutcomeStatus.OK),
        ("file_delete", "block", OutcomeStatus.DENIED),
        ("file_read", "block", OutcomeStatus.DENIED),
        ("file_write", "block", OutcomeStatus.DENIED),
        ("process_spawn", "block", OutcomeStatus.DENIED),
    ]
    events = published.events()
    actions = [event for event in events if isinstance(event, Action)]
    assert [action.assurance for action in actions] == ["hook"] * 5
    assert {event.action_id for event in events if isinstance(event, Outcome)} == {a.action_id for a in actions}


def test_the_monitors_own_work_is_not_judged(vt: Vaultak, published: RecordingPublisher) -> None:
    """Its journal, its queue and its threads would otherwise govern themselves."""
    with vt.monitor("agent-under-test") as m:
        os.stat("/")
        m.audit_trail()
    assert [event.resource for event in published.events() if isinstance(event, Action)] == []
