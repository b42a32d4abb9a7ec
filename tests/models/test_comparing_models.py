"""`vaultak model compare`: what another model would change, over recorded actions, before it judges anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.models.acting import Script

from vaultak.wire import Decision, Verdict, encode, format_ts
from vaultak_models.drift import reference_of
from vaultak_models.features import FEATURES
from vaultak_models.model import RiskModel
from vaultak_models.registry import Registry, Window
from vaultak_models.training import Fitted
from vaultak_streams.cli.app import main
from vaultak_streams.models.comparison import Comparison, compare
from vaultak_streams.replay import replay

WINDOW = Window("a test", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z", 1, 1, 0)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent that reads files for long and then deletes what it never touched; and one that only reads."""
    path = tmp_path_factory.mktemp("recorded") / "recording.jsonl"
    scripts = [Script("odd", step_s=20), Script("steady", step_s=20)]
    for script in scripts:
        for n in range(400):
            script.act("file_read", f"/data/in/{n % 7}.csv")
    for n in range(30):
        scripts[0].act("file_delete", f"/srv/prod/customers/{n}.db")
    lines = [
        encode(msgspec.structs.replace(event, ts=format_ts(ts_us / 1e6)))
        for script in scripts
        for event, ts_us in script.events
    ]
    path.write_bytes(b"\n".join([*lines, b"no event"]) + b"\n")
    return path


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def blind(registry: Registry) -> str:
    """A version to which nothing looks odd."""
    shipped = RiskModel.load()
    model = shipped._replace(exceedance=np.zeros_like(shipped.exceedance))
    fitted = Fitted(model, reference_of(np.ones((100, len(FEATURES)))), {})
    return registry.add(fitted, WINDOW, trained_at="2026-03-03T00:00:00.000000Z").version


def test_a_model_compared_with_itself_changes_nothing(registry: Registry, recording: Path) -> None:
    found = compare(registry, "shipped", "shipped", files=[recording])
    assert (found.actions, found.changed, found.risk_changed, found.unreadable) == (830, 0, 0, 1)


def test_it_says_what_two_replays_would(registry: Registry, recording: Path, tmp_path: Path) -> None:
    version = blind(registry)
    found = compare(registry, "shipped", version, files=[recording])
    verdicts: list[list[Verdict]] = []
    for place in (None, registry.path(version)):
        replay(None, recording, tmp_path / "out.jsonl", model=place)
        verdicts.append([msgspec.json.decode(line, type=Verdict) for line in (tmp_path / "out.jsonl").open("rb")])
    pairs = list(zip(*verdicts, strict=True))
    changed = [(old, new) for old, new in pairs if old.decision != new.decision]
    assert changed, "the test's models must differ"
    assert (found.changed, found.stricter) == (len(changed), 0)
    assert found.risk_changed == sum(old.risk != new.risk for old, new in pairs)
    assert {change.agent_id for change in found.changes} == {"odd"}
    assert sum(change.count for change in found.changes) == len(changed)
    shown = {one.action_id for change in found.changes for one in change.examples}
    assert shown <= {old.action_id for old, _ in changed}


def test_the_other_way_round_it_is_stricter(registry: Registry, recording: Path) -> None:
    version = blind(registry)
    there, back = (compare(registry, *pair, files=[recording]) for pair in (("shipped", version), (version, "shipped")))
    assert back.stricter == back.changed == there.changed > 0


def test_the_command(registry: Registry, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, str]:
        code = main(["model", "compare", *words, "--models", str(registry.directory), "--input", str(recording)])
        return code, capsys.readouterr().out

    version = blind(registry)
    code, printed = run("shipped", version, "--json")
    told: dict[str, Any] = json.loads(printed)
    assert (code, msgspec.convert(told, Comparison).changed > 0) == (0, True)
    assert "odd" in run("shipped", version)[1]
    assert run("shipped", "1-0123456789ab")[0] == 1
    assert Decision(told["changes"][0]["before"]) is not Decision(told["changes"][0]["after"])
    assert registry.judging() is None, "comparing promotes nothing"
