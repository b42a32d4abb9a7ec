"""An action that was allowed a moment ago is allowed faster, and never wrongly."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from vaultak import ActionBlockedError, AgentKilledError, Vaultak
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, Outcome

TIMES = 5


def _read(path: Path) -> None:
    path.read_text()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "file.txt"
    path.write_text("x")
    return path


def test_each_time_is_an_action_of_its_own(secret: Path) -> None:
    published = RecordingPublisher()
    with Vaultak(publisher=published, rollback_limit=0) as vt, vt.monitor("a", labels={"role": "reader"}) as m:
        for _ in range(TIMES):
            _read(secret)
        trail = m.audit_trail()
    actions = [event for event in published.events() if isinstance(event, Action)]
    outcomes = [event for event in published.events() if isinstance(event, Outcome)]
    assert len({action.action_id for action in actions}) == len(actions) == TIMES
    assert [outcome.action_id for outcome in outcomes] == [action.action_id for action in actions]
    assert [entry.action_id for entry in trail] == [action.action_id for action in actions]
    for action in actions:
        assert (action.resource, action.payload, action.labels) == (
            str(secret), {"op": "open", "mode": "r"}, {"role": "reader"},
        )  # fmt: skip
    assert {(action.local.decision, action.local.risk, action.assurance) for action in actions} == {
        ("allow", actions[0].local.risk, "hook")
    }


def test_another_mode_is_another_payload(secret: Path) -> None:
    published = RecordingPublisher()
    with Vaultak(publisher=published, rollback_limit=0) as vt, vt.monitor("a"):
        for mode in ("r+", "a", "r+"):
            with open(secret, mode):
                pass
    modes = [event.payload["mode"] for event in published.events() if isinstance(event, Action)]
    assert modes == ["r+", "a", "r+"]


def test_a_killed_agent_repeats_nothing(secret: Path) -> None:
    limits: dict[str, Any] = {"mode": "kill", "blocked_resources": ["/never/*"]}
    reads = 0
    with Vaultak(publisher=RecordingPublisher(), rollback_limit=0, **limits) as vt, suppress(AgentKilledError):
        with vt.monitor("a"):
            for _ in range(2):
                _read(secret)
                reads += 1
            with suppress(AgentKilledError):
                open("/never/x").close()
            _read(secret)
            reads += 1
    assert reads == 2


def test_what_is_counted_is_counted_each_time(secret: Path) -> None:
    published = RecordingPublisher()
    with (
        Vaultak(publisher=published, rollback_limit=0, mode="block", max_actions_per_minute=3) as vt,
        vt.monitor("a"),
    ):
        for _ in range(3):
            _read(secret)
        with pytest.raises(ActionBlockedError):
            _read(secret)


def test_two_agents_share_no_verdict(secret: Path) -> None:
    published = RecordingPublisher()
    with Vaultak(publisher=published, rollback_limit=0) as allowing:
        with Vaultak(publisher=published, rollback_limit=0, blocked_resources=[str(secret)]) as denying:
            for _ in range(TIMES):
                with allowing.monitor("a"):
                    _read(secret)
                    with pytest.raises(ActionBlockedError), denying.monitor("b"):
                        _read(secret)
    decisions = {(e.agent_id, e.local.decision) for e in published.events() if isinstance(e, Action)}
    assert decisions == {("a", "allow"), ("b", "block")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_writes_to_its_own_chain(secret: Path) -> None:
    published = RecordingPublisher()
    with Vaultak(publisher=published, rollback_limit=0) as vt, vt.monitor("a"):
        _read(secret)
        _read(secret)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                before = len(published.events())
                _read(secret)
                own = published.events()[before:]
                read = [e for e in own if isinstance(e, Action) and e.resource == str(secret)]
                apart = {e.instance for e in own}.isdisjoint(e.instance for e in published.events()[:before])
                code = 0 if len(read) == 1 and apart and own[0].seq == 0 else 2
            finally:
                os._exit(code)
        os.close(reading)
        os.close(writing)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
