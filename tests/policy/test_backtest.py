"""Rules tried on what agents did: from the store and from a recording, with a report that says what would change."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from console.recorded import Recording, store_all
from vaultak import wire
from vaultak.policy import PolicySettings
from vaultak.wire import ActionType, Decision
from vaultak_streams.backtest import Report, backtest_recording, backtest_store, last_backtest
from vaultak_streams.cli.app import app
from vaultak_streams.policy import bundle_from
from vaultak_streams.policy.diff import diff_bundles
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

RULES = """
title: Keys stay unread
id: keys
detection:
  sel: {resource|endswith: .pem}
  condition: sel
enforce: block
---
title: Tools that delete ask
id: asks
detection:
  sel: {tool|contains: delete}
  condition: sel
enforce: require_approval
---
title: Large orders
id: large
mode: shadow
detection:
  sel: {payload.amount|gte: 100}
  condition: sel
enforce: kill
"""
BUNDLE = bundle_from([("rules.yaml", RULES)])
NOW = dt.datetime.now(dt.UTC)


def _recording() -> Recording:
    r = Recording(NOW)

    def add(
        n: int, kind: ActionType, resource: str, *, decision: str = "allow", rules: tuple[str, ...] = (), **more: Any
    ) -> None:
        r.action(
            "bot", "s", 60 - n, kind, resource, action_id=f"a{n}", payload=more, seq=n, rules=rules,
            decision=Decision(decision), outcome=None, risk=0.1,
        )  # fmt: skip

    add(1, ActionType.FILE_READ, "/srv/a.txt")
    add(2, ActionType.FILE_READ, "/srv/KEY.PEM")
    add(3, ActionType.TOOL_CALL, "tool:delete_user", amount=5)
    add(4, ActionType.TOOL_CALL, "tool:order", amount=500)
    add(5, ActionType.TOOL_CALL, "tool:order", amount="many")
    add(6, ActionType.FILE_WRITE, "/srv/b", decision="block", rules=("gone",))
    add(7, ActionType.FILE_WRITE, "/srv/c", decision="block", rules=("max_risk_score",))
    add(8, ActionType.PROCESS_SPAWN, "/bin/cat", resources=["/srv/x", "/etc/k.pem"])
    return r


def _by_id(report: Report) -> dict[str, tuple[int, int]]:
    return {rule.id: (rule.matched, rule.failed) for rule in report.rules}


def _changes(report: Report) -> dict[tuple[str, str, tuple[str, ...]], int]:
    return {(c.before.value, c.after.value, c.rules): c.count for c in report.changes}


@pytest.mark.stack
def test_the_store_answers_what_would_change(clickhouse_database: Callable[..., str]) -> None:
    migrate(clickhouse_database("admin"))
    recording = _recording()
    for n, (command, action) in enumerate([("approve", "a3"), ("deny", "a4"), ("approve", "a1")]):
        message = wire.Command(
            command_id=f"c{n}", agent_id="bot", command=wire.CommandType(command), ts=recording.ts(1),
            expires_at=recording.ts(-60), issued_by="ops", epoch=n, action_id=action, reason="",
        )  # fmt: skip
        recording.add(recording.topics.control, message, "bot")
    with connect(clickhouse_database("admin")) as admin:
        admin.command("SYSTEM STOP MERGES action_parts")
        store_all(admin, recording)
        store_all(admin, recording)  # delivered twice
    with connect(clickhouse_database("viewer")) as viewer:
        report = backtest_store(viewer, BUNDLE, since="2h")
        nothing = backtest_store(viewer, BUNDLE, since="30m", until="20m")
        limits_only = backtest_store(viewer, bundle_from([]), since="2h")
    assert report.actions == 8
    assert _by_id(report) == {"keys": (2, 0), "asks": (1, 0), "large": (1, 1)}
    assert _changes(report) == {
        ("allow", "block", ("keys",)): 2,
        ("allow", "pause", ("asks",)): 1,
        ("block", "allow", ()): 1,
    }
    assert (report.newly_stopped, report.newly_let_through) == (3, 1)
    assert report.answers is not None
    assert (report.answers.approved, report.answers.approved_stopped) == (2, 1)
    assert (report.answers.denied, report.answers.denied_let_through) == (1, 1)
    assert [e.resource for c in report.changes for e in c.examples if "keys" in c.rules] == ["/srv/KEY.PEM", "/bin/cat"]
    assert (nothing.actions, nothing.changed) == (0, 0)
    assert (limits_only.actions, _changes(limits_only)) == (8, {("block", "allow", ()): 1})


@pytest.mark.stack
def test_what_the_store_does_not_hold_is_named(clickhouse_database: Callable[..., str]) -> None:
    migrate(clickhouse_database("admin"))
    rules = RULES.replace("payload.amount|gte: 100", "session.private_read: true")
    with connect(clickhouse_database("viewer")) as viewer:
        report = backtest_store(viewer, bundle_from([("r.yaml", rules)]))
    assert {rule.id: rule.unknown for rule in report.rules if rule.unknown} == {"large": ("session.private_read",)}


def _file(path: Path, recording: Recording) -> Path:
    events = [r.value for r in recording.records if r.topic == recording.topics.actions]
    path.write_bytes(b"\n".join(value for value in events if value))
    return path


def test_a_recording_answers_what_would_change(tmp_path: Path) -> None:
    report = backtest_recording(_file(tmp_path / "events.jsonl", _recording()), BUNDLE)
    assert report.actions == 8
    assert _by_id(report) == {"keys": (2, 0), "asks": (1, 0), "large": (1, 1)}
    assert _changes(report) == {("allow", "block", ("keys",)): 2, ("allow", "pause", ("asks",)): 1}


def test_a_recording_is_tried_against_the_policy_in_force(tmp_path: Path) -> None:
    events = _file(tmp_path / "events.jsonl", _recording())
    again = backtest_recording(events, BUNDLE, against=PolicySettings(rules=BUNDLE))
    assert (again.changed, _by_id(again)["keys"]) == (0, (2, 0))
    gone = backtest_recording(events, bundle_from([]), against=PolicySettings(rules=BUNDLE))
    assert (gone.newly_let_through, gone.newly_stopped) == (3, 0)


RATED = RULES.replace("enforce: block", "rate: {count: 1, window: 1h}\nenforce: block")


def test_rates_of_both_policies_are_counted_apart(tmp_path: Path) -> None:
    rated = bundle_from([("r.yaml", RATED)])
    events = _file(tmp_path / "events.jsonl", _recording())
    report = backtest_recording(events, rated, against=PolicySettings(rules=rated))
    assert (report.changed, _by_id(report)["keys"]) == (0, (1, 0))


def test_the_command_prints_a_report_and_says_by_its_exit_code_whether_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTAK_DATA_DIR", str(tmp_path / "data"))
    rules, events = tmp_path / "rules.yaml", _file(tmp_path / "events.jsonl", _recording())
    rules.write_text(RULES.replace("mode: shadow", "mode: shadow\nscope: {agents: [other]}"))
    command = ["policy", "backtest", "--policy", str(rules), "--input", str(events)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "3 decisions (38 %) would change: 3 actions more would be stopped, 0 would no longer be" in done.output
    assert "allow -> block  bot  2 x  (keys)" in done.output
    assert "/srv/KEY.PEM" in done.output
    assert CliRunner().invoke(app, [*command, "--max-changed", "40"]).exit_code == 0
    told = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (told["actions"], told["newly_stopped"], len(told["changes"])) == (8, 3, 2)
    kept = last_backtest(tmp_path / "data")
    assert kept is not None
    assert kept.report.newly_stopped == 3


def test_diff_says_what_a_rule_says_now(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(RULES)
    first, second, third = RULES.split("---")
    new.write_text(
        "---".join(
            [first.replace(".pem", "[.pem, .key]").replace("block", "kill"), third, second.replace("asks", "more")]
        )
    )
    done = CliRunner().invoke(app, ["policy", "diff", str(old), str(new)])
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "- asks  Tools that delete ask",
        "~ keys  Keys stay unread",
        "    condition",
        '      - resource ends with ".pem"',
        '      + resource ends with any of [".pem", ".key"]',
        "    enforce",
        "      - block",
        "      + kill",
        "+ more  Tools that delete ask",
        "3 rules differ",
    ]
    assert CliRunner().invoke(app, ["policy", "diff", str(old), str(old)]).exit_code == 0
    assert diff_bundles(BUNDLE, BUNDLE) == []
