"""What is asked for and handed on: filters, SQL of one's own, JSON lines, Parquet, OCSF. On a real ClickHouse."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from audit.recorded import Recorder, store_records
from vaultak.errors import ConfigurationError
from vaultak.wire import ActionType, Decision
from vaultak_streams.audit.export import Format, export
from vaultak_streams.audit.ocsf import VERSION, ocsf_event
from vaultak_streams.audit.query import Wanted, ask, ask_sql
from vaultak_streams.store.client import connect
from vaultak_streams.store.errors import StoreError, StoreRejectedError
from vaultak_streams.store.migrations import migrate

Dsn = Callable[..., str]

ACTS: list[tuple[ActionType, str, dict[str, object], int]] = [
    (ActionType.FILE_READ, "/srv/a.txt", {}, 1001),
    (ActionType.FILE_WRITE, "/srv/100%_ünï.txt", {"mode": "w"}, 1001),
    (ActionType.FILE_DELETE, "/", {}, 1001),
    (ActionType.PERMISSION_CHANGE, "/srv/a.txt", {"mode": 511}, 1001),
    (ActionType.PERMISSION_CHANGE, "env:PATH", {}, 6003),
    (ActionType.PROCESS_SPAWN, "process:/usr/bin/curl", {"argv": ["curl", "-s", 1]}, 1007),
    (ActionType.PROCESS_SPAWN, "process:pid:4711", {"signal": 9}, 1007),
    (ActionType.PROCESS_SPAWN, "process:pid:99999999999999", {}, 1007),
    (ActionType.API_CALL, "https://api.example:8443/v1/pay?x=1", {"method": "post"}, 4002),
    (ActionType.NETWORK_REQUEST, "http://[broken", {"method": "brew"}, 4002),
    (ActionType.NETWORK_REQUEST, "db.example:5432", {}, 4001),
    (ActionType.NETWORK_REQUEST, "[::1", {}, 4001),
    (ActionType.DATABASE_QUERY, "db://pg/crm/users", {"sql": "SELECT 1"}, 6005),
    (ActionType.DATABASE_WRITE, "db://sqlite", {}, 6005),
    (ActionType.TOOL_CALL, "tool:send_money", {"amount": 10}, 6003),
    (ActionType.MESSAGE_SEND, "smtp:x@example", {}, 6003),
    (ActionType.CODE_EXECUTION, "code:<string>", {}, 6003),
    (ActionType.CUSTOM, "", {}, 6003),
]


@pytest.fixture(scope="module")
def filled(clickhouse: Any) -> Iterator[Callable[[str], str]]:
    """One action of each sort, each decision in turn. Gives the DSN of a role."""
    name = "vaultak_export"
    clickhouse.execute(f"CREATE DATABASE {name}")
    migrate(clickhouse.dsn("admin", name))
    recorder = Recorder()
    for number, (action_type, resource, payload, _) in enumerate(ACTS):
        decision = list(Decision)[number % len(Decision)]
        agent = "ada" if number % 2 else "bob"
        recorder.act(agent, resource, action_type=action_type, payload=payload, verdict=decision, outcome=number != 3)
    store_records(clickhouse.dsn("admin", name), recorder.records)
    yield lambda role: clickhouse.dsn(role, name)
    clickhouse.execute(f"DROP DATABASE {name} SYNC")


def exported(dsn: str, form: Format, wanted: Wanted | None = None) -> bytes:
    buffer = io.BytesIO()
    export(dsn, wanted or Wanted(), form, None, buffer)
    return buffer.getvalue()


@pytest.mark.stack
@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (Wanted(), len(ACTS)),
        (Wanted(agent="ada"), len(ACTS) // 2),
        (Wanted(action_type="file_read"), 1),
        (Wanted(decision="kill"), len(ACTS) // 6),
        (Wanted(resource="/srv/*"), 3),
        (Wanted(resource="0%_"), 1),
        (Wanted(resource="_"), 2),
        (Wanted(text="send_money"), 1),
        (Wanted(since="1h"), 0),
        (Wanted(until="1d"), 0),
        (Wanted(min_risk=0.3), 0),
        (Wanted(agent="' OR 1=1 --"), 0),
    ],
)
def test_filters_pick_what_they_say(filled: Callable[[str], str], wanted: Wanted, count: int) -> None:
    with connect(filled("viewer")) as store:
        assert len(ask(store, wanted, 100).rows) == count
    assert len(exported(filled("viewer"), Format.JSONL, wanted).splitlines()) == count


@pytest.mark.stack
def test_sql_of_ones_own_reads_and_does_nothing_else(filled: Callable[[str], str]) -> None:
    for role in ("viewer", "admin"):
        with connect(filled(role)) as store:
            assert ask_sql(store, "WITH 1 AS x SELECT count() FROM actions WHERE x;").rows == [(len(ACTS),)]
            for sql in (
                "DROP TABLE events_log",
                "INSERT INTO acks_log (agent_id) VALUES ('x')",
                "SELECT 1) ; DROP TABLE events_log --",
                "SELECT * FROM file('/etc/passwd')",
                "SELECT number FROM numbers(1000000)",
            ):
                if "numbers" in sql:
                    assert len(ask_sql(store, sql).rows) == 100_000
                else:
                    with pytest.raises(StoreRejectedError):
                        ask_sql(store, sql)
            with pytest.raises(ConfigurationError):
                ask_sql(store, " ; ")


@pytest.mark.stack
def test_parquet_and_json_lines_say_the_same(filled: Callable[[str], str], tmp_path: Path) -> None:
    lines = [json.loads(line) for line in exported(filled("viewer"), Format.JSONL).splitlines()]
    path = tmp_path / "actions.parquet"
    assert export(filled("viewer"), Wanted(), Format.PARQUET, path, io.BytesIO()) == path.stat().st_size
    with connect(filled("admin")) as store:
        assert path.read_bytes()[:4] == path.read_bytes()[-4:] == b"PAR1"
        assert len(lines) == store.query("SELECT count() FROM actions").rows[0][0]
    assert [line["resource"] for line in lines] == [resource for _, resource, _, _ in ACTS]
    assert lines[0]["ts"].endswith("Z")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.stack
def test_an_export_that_fails_leaves_no_file(filled: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        export(filled("viewer") + "_absent", Wanted(), Format.JSONL, tmp_path / "x.jsonl", io.BytesIO())
    assert list(tmp_path.iterdir()) == []


@cache
def schemas() -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))


@cache
def validator(class_uid: int, *profiles: str) -> jsonschema.Draft202012Validator:
    name = schemas().lookup_class_name_from_uid(class_uid=class_uid)
    return jsonschema.Draft202012Validator(schemas().get_class_schema(class_name=name, profiles=list(profiles)))


@pytest.mark.stack
def test_every_ocsf_event_is_valid_by_the_published_schema(filled: Callable[[str], str]) -> None:
    events = [json.loads(line) for line in exported(filled("viewer"), Format.OCSF).splitlines()]
    assert [event["class_uid"] for event in events] == [class_uid for *_, class_uid in ACTS]
    for event in events:
        validator(event["class_uid"], *event["metadata"]["profiles"]).validate(event)
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        assert event["metadata"]["version"] == VERSION


def test_a_payload_that_is_no_object_is_left_out() -> None:
    row = dict.fromkeys(
        ("instance", "seq", "parent_action_id", "trace_id", "outcome_status", "duration_ms", "error", "risk",
         "decision", "local_decision", "rules", "factors", "assurance", "labels", "policy_version", "model_version")
    )  # fmt: skip
    row |= {"ts": 1.5, "agent_id": "a", "session_id": "s", "action_id": "x", "action_type": "custom", "resource": "r"}
    event = ocsf_event({**row, "payload": "[1]", "reasons": [], "local_reasons": []})
    assert event["unmapped"]["vaultak"]["payload"] == {}
    assert event["time"] == 1500
    validator(6003, "security_control").validate(event)
