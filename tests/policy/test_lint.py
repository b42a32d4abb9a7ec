"""`vaultak policy lint`: each problem at the line of the faulty key, and how rules stand to one another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak_streams.cli.app import main
from vaultak_streams.policy.init import packs, starting_policy
from vaultak_streams.policy.lint import lint_texts

TESTS = "tests: [{name: y, event: {tool: a, risk: 0.6}, match: true}, {name: n, event: {}, match: false}]\n"

RATE = "rate: {count: 2, window: 5m}\n"
HOURS = "active: {from: 08:00, to: 18:00}\n"


def rule(name: str, enforce: str = "block", selection: str = "{tool: a}", more: str = TESTS) -> str:
    return f"title: t\nid: {name}\nenforce: {enforce}\ndetection:\n  s: {selection}\n  condition: s\n{more}"


def codes(text: str) -> list[str]:
    return [found.code for found in lint_texts({"r.yml": text})]


def test_a_good_rule_has_no_findings() -> None:
    assert lint_texts({"r.yml": rule("a")}) == []


def test_each_bad_rule_of_a_file_is_found_at_its_key() -> None:
    text = "---\n".join([rule("a", enforce="stop"), rule("b"), rule("c", selection="{tool|begins: a}"), rule("d")])
    text = text.replace("id: d\n", "id: d\nrate: 5\n")
    found = lint_texts({"r.yml": text})
    lines = text.splitlines()
    said = [(lines[one.line - 1].strip(), one.code) for one in found]
    assert said == [("enforce: stop", "syntax"), ("s: {tool|begins: a}", "syntax"), ("rate: 5", "syntax")]
    assert str(found[0]).startswith("r.yml:3: ")


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (rule("a", selection="{tool: b}", more=""), "duplicate-id"),
        (rule("b"), "duplicate"),
        (rule("b", enforce="allow"), "contradiction"),
        (rule("b", enforce="alert", selection="{tool: a, risk|gt: 0.5}"), "shadowed"),
    ],
)
def test_rules_that_stand_in_each_others_way_are_found(second: str, code: str) -> None:
    assert code in codes(rule("a") + "---\n" + second)


@pytest.mark.parametrize(
    "second",
    [
        rule("b", enforce="kill", selection="{tool: a, risk|gt: 0.5}"),
        rule("b", enforce="alert", selection="{tool: a, risk|gt: 0.5}", more=TESTS + "mode: shadow\n"),
        rule("b", enforce="alert", selection="{tool: a, risk|gt: 0.5}", more=TESTS + "scope: {roles: [x]}\n"),
        rule("b", enforce="allow", selection="{tool: a, risk|gt: 0.5}", more=TESTS + "override: true\n"),
        rule("b", enforce="kill", more=TESTS + RATE),
    ],
)
def test_a_rule_that_still_decides_is_not_called_shadowed(second: str) -> None:
    assert "shadowed" not in codes(rule("a") + "---\n" + second)


@pytest.mark.parametrize("timing", [RATE, HOURS])
def test_a_rule_that_matches_at_times_shadows_and_doubles_nothing(timing: str) -> None:
    tested = TESTS.replace("match: true}", "match: true, times: 3, at: 2026-01-01T09:00:00Z}")
    tested = tested.replace("match: false}", "match: false, at: 2026-01-01T09:00:00Z}")
    timed = rule("a", more=tested + timing) + "---\n"
    assert codes(timed + rule("b", enforce="alert", selection="{tool: a, risk|gt: 0.5}")) == []
    assert codes(timed + rule("b", enforce="alert")) == []
    assert codes(timed + rule("b", more=tested + timing)) == ["duplicate"]
    assert codes(timed + rule("b", enforce="kill")) == ["shadowed"], "the other one always comes first"


@pytest.mark.parametrize(
    "selection",
    [
        "{action_type: file_read, action_type|exists: false}",
        "{risk|gt: 0.9, risk|lt: 0.1}",
        "[{risk|gt: 0.9, risk|lt: 0.1}]",
    ],
)
def test_what_can_match_nothing_is_unreachable(selection: str) -> None:
    assert "unreachable" in codes(rule("a", selection=selection))


@pytest.mark.parametrize("selection", ["{payload.x|gt: 0.9, payload.x|lt: 0.1}", "{payload.x|all: [a, b]}"])
def test_a_list_may_hold_what_one_value_cannot(selection: str) -> None:
    assert "unreachable" not in codes(rule("a", selection=selection))


def test_a_condition_that_denies_itself_is_unreachable() -> None:
    assert "unreachable" in codes(rule("a").replace("condition: s", "condition: s and not s"))


def test_a_stricter_decision_may_be_tried_in_shadow() -> None:
    assert codes(rule("a") + "---\n" + rule("b", enforce="kill", more=TESTS + "mode: shadow\n")) == []


def test_a_missing_and_a_failing_test_are_told_apart() -> None:
    assert codes(rule("a", more="")) == ["untested"]
    assert codes(rule("a", selection="{tool: z}")) == ["test"]


def test_json_and_exit_code_are_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.yml"
    file.write_text(rule("a", enforce="stop"))
    assert main(["policy", "lint", "--json", str(file)]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["file"], found["line"], found["code"], found["error"]) == (str(file), 3, "syntax", True)
    file.write_text(rule("a", more=""))
    assert main(["policy", "lint", str(file)]) == 0
    assert capsys.readouterr().out.startswith("warning: ")


def test_the_starting_policy_has_no_findings(capsys: pytest.CaptureFixture[str]) -> None:
    assert lint_texts({"p.yml": starting_policy()}) == []
    assert lint_texts(packs()) == []
    assert main(["policy", "init", "--pack", "sql", "--pack", "sql"]) == 0
    out = capsys.readouterr().out
    assert out == starting_policy(["sql"])
    assert "credential-files" not in out


def test_a_pack_that_is_not_there_names_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "init", "--pack", "none"]) == 2
    assert "`credentials`" in capsys.readouterr().err


@given(
    st.text() | st.lists(st.sampled_from([*rule("a").splitlines(), "- a", "---", "? [x]", "s: &a *a"])).map("\n".join)
)
def test_no_text_crashes_it(text: str) -> None:
    for found in lint_texts({"r.yml": text}):
        assert found.line <= text.count("\n") + 2
