"""Real programs under the floor, with their events in hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vaultak import Vaultak
from vaultak.config import Settings
from vaultak.floor import reason_unavailable, run_under_floor
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, Outcome


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    if reason := reason_unavailable():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=f"no floor here: {reason}"))


@dataclass
class Ran:
    """What came of a program under the floor."""

    code: int
    publisher: RecordingPublisher

    @property
    def actions(self) -> list[Action]:
        return [e for e in self.publisher.events() if isinstance(e, Action)]

    def decisions(self, action_type: str, resource: str) -> list[str]:
        """What was decided on an action of the audit; all of the floor's are marked so."""
        found = [a for a in self.actions if a.action_type == action_type and a.resource == resource]
        assert all(a.assurance == "floor" for a in found)
        return [str(a.local.decision) for a in found if a.local]

    def status(self, action_type: str, resource: str) -> list[str]:
        ids = {a.action_id for a in self.actions if a.action_type == action_type and a.resource == resource}
        return [str(e.status) for e in self.publisher.events() if isinstance(e, Outcome) and e.action_id in ids]


Run = Callable[..., Ran]


@pytest.fixture
def make_client(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Vaultak]:
    def make(**limits: Any) -> Vaultak:
        limits = {"max_risk_score": 1.0, "pause_timeout_s": 20, **limits}
        settings = Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path_factory.mktemp("data"))})
        return Vaultak(publisher=RecordingPublisher(), settings=settings, **limits)

    return make


@pytest.fixture
def run(make_client: Callable[..., Vaultak], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a program in an empty directory, under limits given as keywords of `Vaultak`."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: str, env: dict[str, str] | None = None, **limits: Any) -> Ran:
        client = make_client(**limits)
        code = run_under_floor(argv, client=client, agent_id="a", env={**os.environ, **(env or {})})
        assert isinstance(client._publisher, RecordingPublisher)
        return Ran(code, client._publisher)

    return run


@pytest.fixture
def python(run: Run) -> Callable[..., Ran]:
    """Run Python code under the floor, in an interpreter that knows nothing of the SDK."""
    return lambda code, **limits: run(os.path.realpath(sys.executable), "-I", "-S", "-c", code, **limits)
