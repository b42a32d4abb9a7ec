"""Anchors: what the store itself cannot show. Files, signatures, and a trail cut short behind the sink's back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from audit.recorded import Recorder, store_records, stored_blocks
from vaultak.control.signatures import TrustStore
from vaultak.wire import Head
from vaultak_devstack.keys import load_or_create_key
from vaultak_streams.audit.anchor_file import AnchorFile, anchors_dir, read_anchors
from vaultak_streams.audit.anchoring import Anchors
from vaultak_streams.audit.anchors import heads_of, objection
from vaultak_streams.audit.findings import What
from vaultak_streams.audit.verify import verify
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

Dsn = Callable[..., str]


def write(data_dir: Path, *seqs: int) -> None:
    file = AnchorFile(data_dir, load_or_create_key(data_dir), every_s=0)
    for seq in seqs:
        file.note({("ada", "i"): Head("ada", "i", seq, f"{seq:064x}")})
        file.write()
    file.close()


def flaws(data_dir: Path) -> list[str]:
    return [line.flaw for line in read_anchors(data_dir) if line.flaw]


def test_anchors_follow_each_other_over_restarts_and_are_signed(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    write(tmp_path, 3)
    lines = list(read_anchors(tmp_path))
    assert [line.anchor.number for line in lines if line.anchor] == [0, 1, 2]
    assert flaws(tmp_path) == []
    trusted = TrustStore(tmp_path / "keys").keys
    assert [objection(line.anchor, trusted) for line in lines if line.anchor] == ["", "", ""]


@pytest.mark.parametrize("change", ["drop", "edit", "garble"])
def test_a_changed_file_is_found(tmp_path: Path, change: str) -> None:
    write(tmp_path, 1, 2, 3)
    (path,) = anchors_dir(tmp_path).iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1:2] = {"drop": [], "edit": [lines[1].replace(b"ada", b"eve")], "garble": [b"{\n"]}[change]
    path.write_bytes(b"".join(lines))
    trusted = TrustStore(tmp_path / "keys").keys
    objections = [objection(line.anchor, trusted) for line in read_anchors(tmp_path) if line.anchor]
    assert flaws(tmp_path) or any(objections)


def test_a_line_that_a_crash_cut_short_is_taken_back(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    (path,) = anchors_dir(tmp_path).iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    assert len(list(read_anchors(tmp_path))) == 1
    write(tmp_path, 5)
    assert flaws(tmp_path) == []
    assert [line.anchor.heads[0].seq for line in read_anchors(tmp_path) if line.anchor] == [1, 5]


def test_two_sinks_write_to_files_of_their_own(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path)
    one, two = AnchorFile(tmp_path, key), AnchorFile(tmp_path, key)
    assert one.path != two.path
    one.close()
    two.close()


def test_a_disk_that_fails_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "anchors").write_text("in the way")
    anchors = Anchors(tmp_path)
    anchors.note([])
    anchors.write()
    assert anchors.errors == 2
    assert anchors.written == 0


@pytest.fixture
def anchored(clickhouse_database: Dsn, tmp_path: Path) -> str:
    """Two agents' actions, stored and anchored."""
    dsn = clickhouse_database("admin")
    migrate(dsn)
    recorder = Recorder()
    for _ in range(5):
        recorder.act("ada")
        recorder.act("bob")
    store_records(dsn, recorder.records)
    anchors = Anchors(tmp_path)
    anchors.note(stored_blocks(recorder.records, "events_log"))
    anchors.close()
    assert anchors.written == 1
    return dsn


def found(dsn: str, data_dir: Path) -> set[tuple[What, str]]:
    with connect(dsn) as store:
        return {(f.what, f.agent_id) for f in verify(store, data_dir=data_dir).findings}


@pytest.mark.stack
def test_an_anchored_trail_is_clean(anchored: str, tmp_path: Path) -> None:
    assert found(anchored, tmp_path) == set()


@pytest.mark.stack
def test_a_tail_cut_off_and_a_chain_removed_are_found(anchored: str, tmp_path: Path) -> None:
    with connect(anchored) as store:
        for table in ("events_log", "action_parts"):
            gone = "agent_id = 'bob' OR action_id IN (SELECT action_id FROM events_log WHERE seq >= 8)"
            store.command(f"ALTER TABLE {table} DELETE WHERE {gone} SETTINGS mutations_sync = 2")
    with connect(anchored) as store:
        assert {f.what for f in verify(store).findings} <= {What.ACTION_INVENTED}
    assert {(What.TAIL_CUT, "ada"), (What.TAIL_CUT, "bob")} <= found(anchored, tmp_path)


@pytest.mark.stack
def test_a_chain_made_anew_is_found(anchored: str, tmp_path: Path) -> None:
    """As many events, all of them well-formed: only the anchor knows better."""
    other = Recorder()
    with connect(anchored) as store:
        (instance,) = store.query("SELECT DISTINCT instance FROM events_log WHERE agent_id = 'ada'").rows[0]
        other.rename("ada", instance)
        for table in ("events_log", "action_parts"):
            store.command(f"ALTER TABLE {table} DELETE WHERE agent_id = 'ada' SETTINGS mutations_sync = 2")
    for _ in range(5):
        other.act("ada", "/srv/harmless.txt")
    store_records(anchored, other.records)
    assert found(anchored, tmp_path) == {(What.REWRITTEN, "ada")}


def test_heads_are_the_furthest_of_each_chain() -> None:
    recorder = Recorder()
    recorder.act("ada")
    recorder.act("ada")
    (block,) = stored_blocks(recorder.records, "events_log")
    (head,) = heads_of(block).values()
    assert (head.agent_id, head.seq) == ("ada", 3)
