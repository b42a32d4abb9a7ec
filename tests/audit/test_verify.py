"""`vaultak audit verify` finds what was done to the trail behind its back. On a real ClickHouse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from audit.recorded import Recorder, store_records

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
