"""`vaultak policy`: what an engineer sees, and exit codes for CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultak.policy.rules import CompiledRules, load_bundle
from vaultak_streams.cli.app import main

RULE = """title: t
id: one
enforce: block
detection: {s: {tool: mail}, condition: s}
tests: [{name: mail, event: {tool: Mail}, match: true}]
"""


def test_rules_are_checked_tried_and_compiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, bundle = tmp_path / "r.yml", tmp_path / "b.json"
    file.write_text(RULE)
    assert main(["policy", "lint", str(file)]) == 0
    assert main(["policy", "test", str(file)]) == 0
    assert "1 tests, 0 failed" in capsys.readouterr().out
    assert main(["policy", "compile", str(file), "--output", str(bundle)]) == 0
    assert CompiledRules(load_bundle(bundle)).evaluate({"tool": "mail"}).rules == ("one",)


def test_an_id_that_is_taken_and_a_failing_test_exit_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.yml"
    file.write_text(RULE + "---\n" + RULE.replace("match: true", "match: false"))
    assert main(["policy", "lint", str(file)]) == 1
    assert f"id `one` is taken by {file}:1" in capsys.readouterr().out
    assert main(["policy", "test", str(file)]) == 1


def test_a_file_that_is_not_there_is_a_wrong_call(tmp_path: Path) -> None:
    assert main(["policy", "test", str(tmp_path / "none.yml")]) == 2
