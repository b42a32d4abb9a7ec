"""Seals: a verdict changed in the store is found by who has the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from audit.recorded import Recorder, store_records
from vaultak.errors import ConfigurationError
from vaultak_streams.audit.findings import What
from vaultak_streams.audit.seals import key_path, load_key, load_or_create_key
from vaultak_streams.audit.verify import verify
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

Dsn = Callable[..., str]


def test_a_key_is_made_once_and_private(tmp_path: Path) -> None:
    assert load_key(tmp_path) is None
    key = load_or_create_key(tmp_path)
    assert load_or_create_key(tmp_path) == key
    assert key_path(tmp_path).stat().st_mode & 0o777 == 0o600
    key_path(tmp_path).chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_key(tmp_path)


def test_a_key_comes_from_the_environment_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULTAK_AUDIT_KEY", "ab" * 32)
    assert load_or_create_key(tmp_path) == b"\xab" * 32
    assert not key_path(tmp_path).exists()
    monkeypatch.setenv("VAULTAK_AUDIT_KEY", "short")
    with pytest.raises(ConfigurationError, match="VAULTAK_AUDIT_KEY"):
        load_key(tmp_path)


EDITS = (
    "decision = 'block'", "risk = 0.01", "reasons = '[]'", "scored_ts = scored_ts - 1", "verdict_seal = 7",
    "explanation = '[{}]'", "policy_version = 'p0'",
)  # fmt: skip


@pytest.mark.stack
def test_an_edited_verdict_is_found(clickhouse_database: Dsn, tmp_path: Path) -> None:
    dsn = clickhouse_database("admin")
    migrate(dsn)
    recorder = Recorder()
    ids = [recorder.act("ada") for _ in range(len(EDITS) + 1)]
    store_records(dsn, recorder.records, data_dir=tmp_path)
    store_records(dsn, recorder.records, data_dir=tmp_path)
    with connect(dsn) as store:
        store.command("OPTIMIZE TABLE action_parts FINAL")
        report = verify(store, data_dir=tmp_path)
        assert (report.findings, report.verdicts) == ([], len(ids))
        for action_id, edit in zip(ids, EDITS, strict=False):
            where = f"action_id = '{action_id}' SETTINGS mutations_sync = 2"
            store.command(f"ALTER TABLE action_parts UPDATE {edit} WHERE {where}")
        findings = verify(store, data_dir=tmp_path).findings
        assert {finding.what for finding in findings} == {What.VERDICT_CHANGED}
        assert sorted(finding.action_id for finding in findings) == sorted(ids[:-1])
        assert verify(store).verdicts is None
