"""What an agent may not touch it does not reach by moving what is around it, nor unseen by a monitor of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vaultak import ActionBlockedError, KillSwitchMode, Vaultak
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "kept" / "deep").mkdir(parents=True)
    (tmp_path / "kept" / "deep" / "secret").write_text("secret")
    return tmp_path


def _client(published: RecordingPublisher, *blocked: str) -> Vaultak:
    return Vaultak(publisher=published, blocked_resources=[*blocked], rollback_limit=0, mode=KillSwitchMode.BLOCK)


def _resources(published: RecordingPublisher) -> list[str]:
    return [event.resource for event in published.events() if isinstance(event, Action)]


@pytest.mark.parametrize("above", ["kept", "kept/deep"])
def test_a_directory_is_not_moved_away_with_a_blocked_file_in_it(tree: Path, above: str) -> None:
    published = RecordingPublisher()
    secret = tree / "kept" / "deep" / "secret"
    with _client(published, str(secret)) as vt, vt.monitor("mover"), pytest.raises(ActionBlockedError):
        os.rename(tree / above, tree / "moved")
    assert secret.exists()
    assert str(secret) in _resources(published)


def test_a_directory_is_not_moved_to_where_its_files_would_be_blocked(tree: Path) -> None:
    with _client(RecordingPublisher(), f"{tree}/production/*") as vt, vt.monitor("mover"):
        with pytest.raises(ActionBlockedError):
            os.rename(tree / "kept", tree / "production")
    assert not (tree / "production").exists()


def test_a_directory_without_anything_blocked_is_moved(tree: Path) -> None:
    published = RecordingPublisher()
    with _client(published, "*.env") as vt, vt.monitor("mover"):
        os.rename(tree / "kept", tree / "moved")
    assert (tree / "moved" / "deep" / "secret").exists()
    assert _resources(published) == [str(tree / "kept"), str(tree / "moved")]


def test_a_monitor_inside_another_is_an_action_of_the_outer_agent(tree: Path) -> None:
    outer, inner = RecordingPublisher(), RecordingPublisher()
    with _client(outer) as vt, vt.monitor("outer"), _client(inner) as own, own.monitor("inner"):
        (tree / "kept" / "deep" / "secret").read_text()
    assert _resources(outer) == ["code:vaultak.monitor"]
    assert _resources(inner) == [str(tree / "kept" / "deep" / "secret")]


@pytest.mark.parametrize("intercept", [True, False])
def test_a_monitor_inside_another_can_be_forbidden(tree: Path, intercept: bool) -> None:
    with _client(RecordingPublisher(), "code:vaultak.*") as vt, vt.monitor("outer"):
        with _client(RecordingPublisher()) as own, pytest.raises(ActionBlockedError):
            with own.monitor("inner", intercept=intercept):
                (tree / "kept" / "deep" / "secret").unlink()
        assert (tree / "kept" / "deep" / "secret").exists()


def test_sessions_of_one_agent_inside_each_other_are_no_actions() -> None:
    published = RecordingPublisher()
    with _client(published) as vt, vt.monitor("same"), vt.monitor("same"):
        pass
    assert _resources(published) == []
