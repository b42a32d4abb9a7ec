"""`vaultak audit verify` finds what was done to the trail behind its back. On a real ClickHouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from audit.recorded import Recorder, store_records, stored_blocks
from vaultak_streams.audit.anchoring import Anchors
from vaultak_streams.audit.findings import What
from vaultak_streams.audit.verify import verify
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

pytestmark = pytest.mark.stack

Dsn = Callable[..., str]


@pytest.fixture
def filled(clickhouse_database: Dsn) -> tuple[str, Recorder]:
    """Two agents, ten actions each, judged and with outcomes."""
    dsn = clickhouse_database("admin")
    migrate(dsn)
    recorder = Recorder()
    for number in range(10):
        for agent in ("ada", "bob"):
            recorder.act(agent, f"/srv/{agent}/{number}.txt", payload={"note": f'ünïcode "{number}"', "n": 1.5})
    store_records(dsn, recorder.records)
    with connect(dsn) as store:
        store.command("OPTIMIZE TABLE action_parts FINAL")  # as it comes to be after a while: an edit is of whole rows
    return dsn, recorder


def alter(dsn: str, sql: str) -> None:
    with connect(dsn) as store:
        store.command(f"{sql} SETTINGS mutations_sync = 2")


def found(dsn: str, **options: object) -> list[tuple[What, str, int | None]]:
    with connect(dsn) as store:
        report = verify(store, **options)
    return [(finding.what, finding.agent_id, finding.seq) for finding in report.findings]


def test_what_agents_sent_is_clean_even_when_delivered_twice(filled: tuple[str, Recorder]) -> None:
    dsn, recorder = filled
    store_records(dsn, recorder.records[5:25])
    with connect(dsn) as store:
        report = verify(store)
    assert report.findings == []
    assert report.clean
    assert report.chains == 2
    assert report.events >= 40


def test_a_message_edited_by_hand_is_found(filled: tuple[str, Recorder]) -> None:
    dsn, _ = filled
    alter(
        dsn,
        "ALTER TABLE events_log UPDATE value = replaceOne(value, '/srv/ada/3.txt', '/srv/ada/4.txt')"
        " WHERE agent_id = 'ada' AND seq = 6",
    )
    assert (What.ALTERED, "ada", 6) in found(dsn)
    assert {agent for _, agent, _ in found(dsn)} == {"ada"}


def test_a_deleted_event_is_a_gap(filled: tuple[str, Recorder]) -> None:
    dsn, _ = filled
    alter(dsn, "ALTER TABLE events_log DELETE WHERE agent_id = 'bob' AND seq IN (4, 5)")
    assert (What.GAP, "bob", 6) in found(dsn)


def test_a_row_of_an_action_edited_by_hand_is_found(filled: tuple[str, Recorder]) -> None:
    dsn, _ = filled
    alter(
        dsn,
        "ALTER TABLE action_parts UPDATE resource = '/srv/ada/harmless.txt' WHERE agent_id = 'ada'"
        " AND resource = '/srv/ada/3.txt'",
    )
    alter(dsn, "ALTER TABLE action_parts UPDATE content = 'nothing' WHERE agent_id = 'bob' AND seq = 4")
    alter(dsn, "ALTER TABLE action_parts UPDATE ts = ts - 3600 WHERE agent_id = 'bob' AND seq = 8")
    changed = {(What.ACTION_CHANGED, "ada", 6), (What.ACTION_CHANGED, "bob", 4), (What.ACTION_CHANGED, "bob", 8)}
    assert set(found(dsn)) == changed


@pytest.mark.parametrize("edit", ["ts = ts - 1", "session_id = 'other'", "action_id = 'other'", "kind = 'outcome'"])
def test_a_row_of_an_event_whose_columns_were_edited_is_found(filled: tuple[str, Recorder], edit: str) -> None:
    dsn, _ = filled
    alter(dsn, f"ALTER TABLE events_log UPDATE {edit} WHERE agent_id = 'ada' AND seq = 6")
    assert (What.MISFILED, "ada", 6) in found(dsn)


def test_a_deleted_and_an_invented_row_of_an_action_are_found(filled: tuple[str, Recorder]) -> None:
    dsn, _ = filled
    alter(dsn, "ALTER TABLE action_parts DELETE WHERE agent_id = 'ada' AND seq = 6")
    alter(dsn, "ALTER TABLE events_log DELETE WHERE agent_id = 'bob' AND kind = 'action' AND seq = 4")
    assert set(found(dsn)) == {
        (What.ACTION_MISSING, "ada", 6),
        (What.GAP, "bob", 5),
        (What.ACTION_INVENTED, "bob", 4),
    }


def test_who_went_around_the_guard_shows(clickhouse_database: Dsn) -> None:
    dsn = clickhouse_database("admin")
    migrate(dsn)
    recorder = Recorder()
    unjudged = recorder.act("ada", verdict=None)
    silent = recorder.act("ada", outcome=False, assurance="patch")
    stray = recorder.act("ada")
    recorder.now_s += 3600
    recorder.act("ada")
    kept = [r for r in recorder.records if not (stray in str(r.value) and b'"kind":"action"' in (r.value or b""))]
    store_records(dsn, kept)
    with connect(dsn) as store:
        findings = {(f.what, f.action_id) for f in verify(store).findings if f.what is not What.GAP}
    assert findings == {(What.NO_VERDICT, unjudged), (What.NO_OUTCOME, silent), (What.OUTCOME_ALONE, stray)}


def test_whatever_is_done_to_any_one_event_is_found(clickhouse_database: Dsn, tmp_path: Path) -> None:
    """Each event of a chain in turn, edited in each member or deleted: an agent for each way."""
    dsn = clickhouse_database("admin")
    migrate(dsn)
    recorder = Recorder()
    edits = (
        "replaceOne(value, '/srv/', '/var/')", "replaceOne(value, '\"w\"', '\"r\"')",
        "replaceOne(value, '\"ok\"', '\"error\"')", "replaceOne(value, '\"allow\"', '\"block\"')",
        "replaceOne(value, '\"prev_hash\":\"', '\"prev_hash\":\"0')", "concat(value, ' ')",
        "replaceOne(value, ':', ': ')",
        "''", "'{}'", "'[1]'", "substring(value, 1, 100)",
    )  # fmt: skip
    ways = [(edit, seq) for edit in (*edits, "DELETE") for seq in range(6)]
    for number in range(len(ways)):
        for _ in range(3):
            recorder.act(f"agent-{number:03}")
    store_records(dsn, recorder.records)
    anchors = Anchors(tmp_path)
    anchors.note(stored_blocks(recorder.records, "events_log"))
    anchors.close()
    with connect(dsn) as store:
        before = dict(store.query("SELECT (agent_id, seq) AS k, value FROM events").rows)
        for edit in edits:
            agents = [f"agent-{number:03}" for number, way in enumerate(ways) if way[0] == edit]
            which = f"has({agents!r}, agent_id) AND seq = indexOf({agents!r}, agent_id) - 1"
            store.command(f"ALTER TABLE events_log UPDATE value = {edit} WHERE {which} SETTINGS mutations_sync = 2")
        gone = [f"agent-{number:03}" for number, way in enumerate(ways) if way[0] == "DELETE"]
        which = f"has({gone!r}, agent_id) AND seq = indexOf({gone!r}, agent_id) - 1"
        store.command(f"ALTER TABLE events_log DELETE WHERE {which} SETTINGS mutations_sync = 2")
        after = dict(store.query("SELECT (agent_id, seq) AS k, value FROM events").rows)
        touched = {agent for (agent, seq), value in before.items() if after.get((agent, seq)) != value}
        blanks = {f"agent-{number:03}" for number, way in enumerate(ways) if way[0] in ("concat(value, ' ')", edits[6])}
        suspects = {finding.agent_id for finding in verify(store, data_dir=tmp_path).findings}
    assert len(touched) > 50
    assert suspects == touched - blanks  # white space is no part of canonical JSON: the message says the same
