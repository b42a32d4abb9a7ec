"""Policies from files: YAML beside TOML and JSON, and one clear line for what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultak.errors import PolicyError
from vaultak.policy import KillSwitchMode, PolicySettings
from vaultak_streams.policy_files import load_policy

EXPECTED = PolicySettings(blocked_resources=("*.env",), max_risk_score=0.6, mode=KillSwitchMode.KILL)

FILES = {
    "p.yaml": "blocked_resources: ['*.env']\nmax_risk_score: 0.6\nmode: kill\n",
    "p.yml": '{"blocked_resources": ["*.env"], "max_risk_score": 0.6, "mode": "kill"}',
    "p.toml": 'blocked_resources = ["*.env"]\nmax_risk_score = 0.6\nmode = "kill"\n',
    "p.json": '{"blocked_resources": ["*.env"], "max_risk_score": 0.6, "mode": "kill"}',
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_policy_in_each_form(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    assert load_policy(path) == EXPECTED
    assert load_policy(path).version == EXPECTED.version


def test_none_and_an_empty_file_are_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("# nothing yet\n")
    assert load_policy(None) == load_policy(tmp_path / "p.yaml") == PolicySettings()


BAD = {
    "unknown key": "max_risk: 0.6",
    "wrong type": "max_risk_score: high",
    "out of range": "max_risk_score: 7",
    "not yaml": "a: [1,",
    "an object": "!!python/object/apply:os.system ['true']",
    "a bomb": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "a list": "- 1",
    "deep": "[" * 5000,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_what_cannot_be_used_is_said_in_one_line_that_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError) as e:
        load_policy(path)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)
