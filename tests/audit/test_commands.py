"""`vaultak audit ...` as a user calls it: exit codes, tables, JSON. On a real ClickHouse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.recorded import Recorder, store_records, stored_blocks
from vaultak_streams.audit.anchoring import Anchors
from vaultak_streams.cli.app import main
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

pytestmark = pytest.mark.stack

Dsn = Callable[..., str]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(
    clickhouse_database: Dsn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run `vaultak audit ...` on a small trail: exit code and what was printed."""
    dsn = clickhouse_database("admin")
    migrate(dsn)
    recorder = Recorder()
    for number in range(3):
        recorder.act("ada", f"/srv/{number}.txt")
    store_records(dsn, recorder.records)
    anchors = Anchors(tmp_path)
    anchors.note(stored_blocks(recorder.records, "events_log"))
    anchors.close()
    monkeypatch.setenv("VAULTAK_CLICKHOUSE_DSN", dsn)
    monkeypatch.setenv("VAULTAK_DATA_DIR", str(tmp_path))

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["audit", *arguments])
        out, err = capsys.readouterr()
        return code, out + err

    return call


def test_verify_says_clean_with_0_and_each_finding_with_1(run: Run, clickhouse_database: Dsn) -> None:
    code, text = run("verify")
    assert code == 0
    assert "6 events in 1 chains, 3 actions" in text
    assert "complete and untouched" in text
    with connect(clickhouse_database("admin")) as store:
        store.command("ALTER TABLE events_log DELETE WHERE seq >= 4 SETTINGS mutations_sync = 2")
    code, text = run("verify", "--json")
    report = json.loads(text)
    assert code == 1
    assert not report["clean"]
    (cut,) = [finding for finding in report["findings"] if finding["what"] == "tail_cut"]
    assert (cut["agent_id"], cut["seq"]) == ("ada", 5)
    assert "anchor" in cut["meaning"]
    code, text = run("verify", "--agent", "ada", "--since", "2h")
    assert code == 1
    assert "tail_cut" in text or "action_invented" in text


def _database(run: Run) -> str:
    return str(json.loads(run("query", "--sql", "SELECT currentDatabase() AS d", "--json")[1])[0]["d"])


def test_query_and_export_filter_alike(run: Run, tmp_path: Path) -> None:
    code, text = run("query", "--resource", "/srv/*1.txt", "--json")
    assert code == 0
    assert [row["resource"] for row in json.loads(text)] == ["/srv/1.txt"]
    path = tmp_path / "out.jsonl"
    assert run("export", "--format", "ocsf", "--output", str(path), "--type", "file_write")[0] == 0
    assert {json.loads(line)["class_uid"] for line in path.read_text().splitlines()} == {1001}
    assert run("export", "--format", "xml")[0] == 2
    assert run("query", "--since", "yesterday")[0] == 2
    assert run("query", "--sql", "DROP TABLE events_log")[0] == 1
    assert run("export", "--output", str(tmp_path / "no" / "where"))[0] == 1


def test_retention_hold_backup_and_restore(run: Run) -> None:
    assert run("retention", "set", "90d") == (0, "rows are kept for 90 days\n")
    assert json.loads(run("hold", "add", "ada", "--reason", "case", "--json")[1]) == {"days": 90, "held": ["ada"]}
    assert json.loads(run("hold", "list", "--json")[1])[0]["reason"] == "case"
    assert "ada" in run("retention", "show")[1]
    assert run("hold", "release", "ada")[0] == 0
    assert run("hold", "release", "ada")[0] == 2
    assert run("retention", "set", "soon")[0] == 2
    name = f"cli-{_database(run)}"
    code, text = run("backup", name)
    assert code == 0
    assert "rows put away" in text
    code, text = run("restore", name)
    assert code == 1
    assert "empty database" in text
