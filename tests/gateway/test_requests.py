"""Who may ask, what is taken, how much of it; everything else is refused in words that help."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.serving import action, until
from vaultak.errors import ConfigurationError
from vaultak_streams.cli.app import main
from vaultak_streams.gateway.keys import ApiKeys
from vaultak_streams.gateway.openapi import render
from vaultak_streams.gateway.options import GatewayOptions
from vaultak_streams.gateway.quota import Quotas

Alone = Callable[..., Any]


@pytest.fixture(scope="module")
def client(alone: Alone) -> Any:
    with alone() as served:
        yield served.client("web", "shell-*")


def refused(answer: httpx.Response, status: int, said: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_without_a_broker_it_judges_and_spools(alone: Alone) -> None:
    with alone() as served:
        client = served.client("web")
        assert client.post("/v1/actions", json=action(resource="/srv/.env")).json()["decision"] == "block"
        assert served.gateway.publisher.stats.pending_bytes > 0
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer vtk_0_x", "Basic dTpw", f"Bearer vtk_{'0' * 12}_{'A' * 43}"])
def test_nobody_comes_in_without_a_key(client: httpx.Client, header: str) -> None:
    answer = client.post("/v1/actions", json=action(), headers={"Authorization": header})
    refused(answer, 401, "Bearer")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_speaks_for_its_agents_alone(client: httpx.Client) -> None:
    assert client.post("/v1/actions", json=action("shell-7")).status_code == 200
    refused(client.post("/v1/actions", json=action("webmaster")), 403, "webmaster")
    refused(client.post("/v1/actions", json=[action(), action("other")]), 403, "other")
    refused(client.get("/v1/agents/other/commands"), 403, "other")
    refused(client.get("/v1/agents/other/actions/x"), 403, "other")
    refused(client.post("/v1/agents/other/acks", json={"command_id": "c", "result": "applied"}), 403, "other")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"action_type": "launch_missiles"}, "action_type"),
        ({"agent_id": ""}, "agent_id"),
        ({"agent_id": "a\nb"}, "agent_id"),
        ({"agent_id": "*"}, "agent_id"),
        ({"resource": 7}, "resource"),
        ({"payload": "text"}, "payload"),
        ({"action_id": "with space"}, "action_id"),
        ({"ts": "yesterday, around nine or so"}, "ts"),
        ({"ts": "2999-01-01T00:00:00.000000Z"}, "a day ahead"),
        ({"trace_id": "xyz"}, "trace_id"),
        ({"schema_version": 2}, "schema_version"),
        ({"kind": "wish"}, "wish"),
    ],
)
def test_what_is_no_event_is_refused_by_name(client: httpx.Client, changes: dict[str, Any], said: str) -> None:
    refused(client.post("/v1/actions", json=action() | changes), 422, said)
    refused(client.post("/v1/actions", json=[action(), action() | changes]), 422, "[1]")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'"text"', b"[" * 5000])
def test_what_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/v1/actions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


def test_nothing_of_a_refused_batch_is_taken(alone: Alone) -> None:
    with alone() as served:
        refused(served.client("web").post("/v1/actions", json=[action(), {"kind": "action"}]), 422, "[1]")
        assert served.gateway.intake.counts.actions == 0
        assert served.gateway.intake.counts.refused == {"422": 1}


def test_bodies_batches_and_speed_are_bounded(alone: Alone) -> None:
    with alone(max_body_bytes=4096, max_events=3, per_second=0.1, burst=4) as served:
        client = served.client("web")
        refused(client.post("/v1/actions", json=action(payload={"x": "y" * 5000})), 413, "4096")
        pieces = (b"[" + b" " * 5000 for _ in range(2))
        refused(client.post("/v1/actions", content=pieces, headers={"content-type": "application/json"}), 413, "4096")
        refused(client.post("/v1/actions", json=[action()] * 4), 413, "at most 3")
        assert client.post("/v1/actions", json=[action()] * 3).status_code == 200
        answer = client.post("/v1/actions", json=[action()] * 3)
        refused(answer, 429, "too fast")
        assert answer.headers["retry-after"] == "20"


def test_a_client_that_dawdles_is_sent_away(alone: Alone) -> None:
    with alone(body_s=0.2) as served:
        at = httpx.URL(served.at)
        _, key = served.gateway.keys.add(["web"])
        head = f"POST /v1/actions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        with socket.create_connection((at.host, at.port), timeout=10) as slow:
            slow.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n[".encode())
            assert b" 408 " in slow.recv(4096).splitlines()[0]


def test_a_broker_that_does_not_keep_up_is_felt(alone: Alone) -> None:
    with alone(max_pending_bytes=1024) as served:
        client = served.client("web")
        assert client.post("/v1/actions", json=[action()] * 5).status_code == 200
        answer = client.post("/v1/actions", json=action())
        refused(answer, 503, "broker")
        assert "retry-after" in answer.headers


def test_who_waits_is_counted_and_bounded(alone: Alone) -> None:
    with alone(max_waiting=1) as served:
        client = served.client("web")
        with client.stream("GET", "/v1/agents/web/commands", headers={"Accept": "text/event-stream"}):
            until(lambda: served.gateway.intake.waiting == 1)
            refused(client.post("/v1/actions", params={"wait": 1}, json=action()), 503, "wait already")
            assert client.post("/v1/actions", json=action()).status_code == 200
        until(lambda: served.gateway.intake.waiting == 0)


def test_agents_are_bounded_and_the_silent_one_makes_room(alone: Alone) -> None:
    with alone(max_agents=2) as served:
        client = served.client("*")
        for n in range(4):
            assert client.post("/v1/actions", json=action(f"agent-{n}")).status_code == 200
        assert len(served.gateway.members) == 2
        assert served.gateway.members.forgotten == 2


@pytest.mark.parametrize("wait", ["soon", "-1", "nan", "inf"])
def test_a_wrong_wait_is_named(client: httpx.Client, wait: str) -> None:
    refused(client.post("/v1/actions", params={"wait": wait}, json=action()), 422, "wait")


def test_cloud_events_come_in_each_form_and_are_answered_in_kind(client: httpx.Client) -> None:
    cloud = {
        "specversion": "1.0",
        "id": "ce-1",
        "type": "vaultak.action.v1",
        "source": "/agents/web",
        "data": {"action_type": "file_read", "resource": "/x", "payload": {}},
    }
    kind = "application/cloudevents+json"
    answer = client.post("/v1/actions", content=json.dumps(cloud), headers={"content-type": kind})
    assert answer.headers["content-type"] == kind
    said = answer.json()
    assert (said["type"], said["id"], said["subject"]) == ("vaultak.answer.v1", "ce-1", "/agents/web")
    assert said["data"]["decision"] == "allow"
    kind = "application/cloudevents-batch+json"
    batch = json.dumps([cloud | {"id": "ce-2"}, cloud | {"id": "ce-3"}])
    answer = client.post("/v1/actions", content=batch, headers={"content-type": kind})
    assert [one["id"] for one in answer.json()] == ["ce-2", "ce-3"]
    headers = {f"ce-{k}": v for k, v in cloud.items() if isinstance(v, str)}
    answer = client.post("/v1/actions", json=cloud["data"], headers=headers)
    assert answer.json()["data"] | {"duplicate": True} == answer.json()["data"]
    wrong = cloud | {"type": "com.example.other"}
    kind = "application/cloudevents+json"
    refused(client.post("/v1/actions", content=json.dumps(wrong), headers={"content-type": kind}), 422, "com.example")


def test_another_content_type_is_refused(client: httpx.Client) -> None:
    refused(client.post("/v1/actions", content=b"<a/>", headers={"content-type": "text/xml"}), 415, "application/json")
    assert client.get("/v1/actions").status_code == 405
    assert client.get("/v2/actions").status_code == 404


def test_a_key_counts_until_it_is_revoked(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path / "keys.json")
    key, text = keys.add(["web"], "the web team")
    assert keys.verify(text) is not None
    assert text.split("_", 2)[2] not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    assert keys.verify(text[:-1] + ("A" if text[-1] != "A" else "B")) is None
    keys.revoke(key.key_id)
    assert keys.verify(text) is None
    with pytest.raises(ConfigurationError, match="no key"):
        keys.revoke(key.key_id)
    with pytest.raises(ConfigurationError, match="no agent id"):
        keys.add(["a*b"])


def test_keys_are_made_shown_and_revoked_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAULTAK_DATA_DIR", str(tmp_path))
    assert main(["gateway", "add-key", "web", "shell-*", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert main(["gateway", "keys", "--json"]) == 0
    [shown] = json.loads(capsys.readouterr().out)
    assert (shown["key_id"], shown["agents"], "sha256" in shown) == (made["key_id"], ["web", "shell-*"], False)
    assert main(["gateway", "revoke-key", made["key_id"]]) == 0
    assert main(["gateway", "revoke-key", made["key_id"]]) == 2


def test_a_bucket_refills_with_time_and_a_large_request_empties_it() -> None:
    quotas = Quotas(per_second=10, burst=20)
    assert quotas.spend("k", 20, 100.0) == 0
    assert quotas.spend("k", 1, 100.0) == pytest.approx(0.1)
    assert quotas.spend("other", 1, 100.0) == 0
    assert quotas.spend("k", 10, 101.0) == 0
    assert quotas.spend("k", 50, 110.0) == 0
    assert quotas.spend("k", 1, 110.5) == pytest.approx(2.6)


@pytest.mark.parametrize("name", ["PORT", "MAX_BODY_BYTES", "MAX_WAIT_S", "PER_SECOND"])
def test_wrong_options_are_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"VAULTAK_GATEWAY_{name}"):
        GatewayOptions.from_env({f"VAULTAK_GATEWAY_{name}": "many"})


def test_the_published_document_is_the_one_that_is_served(client: httpx.Client) -> None:
    assert (Path(__file__).parents[2] / "infra" / "openapi.json").read_text() == render()
    assert client.get("/openapi.json", headers={"Authorization": ""}).json() == json.loads(render())
