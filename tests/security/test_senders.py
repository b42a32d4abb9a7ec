"""Where keys are required, nobody speaks for an agent but who holds a key for it: worker and sink take nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.sink_process import SinkProcess
from e2e.worker_process import read_until, reader, running_worker
from vaultak import OutcomeStatus, Vaultak
from vaultak.config import Settings
from vaultak.errors import ConfigurationError
from vaultak.wire import Topics, decode_dead_letter, decode_verdict
from vaultak.wire.senders import KEY_HEADER, MAC_HEADER, Sender
from vaultak_devstack.broker import Broker
from vaultak_streams.gateway.keys import ApiKeys, keys_path
from vaultak_streams.senders import Senders
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

TOPIC, KEY, VALUE = "vaultak.actions", b"ada", b'{"agent_id":"ada"}'


@pytest.fixture
def keys(tmp_path: Path) -> ApiKeys:
    return ApiKeys(keys_path(tmp_path))


def headers_of(api_key: str, key: bytes = KEY, value: bytes = VALUE) -> list[tuple[str, bytes]]:
    sender = Sender.of(api_key)
    assert sender is not None
    return sender.headers(TOPIC, key, value)


def test_the_holder_of_the_agents_key_is_believed_and_nobody_else(keys: ApiKeys, tmp_path: Path) -> None:
    ada, adas = keys.add(["ada"])
    _, bobs = keys.add(["bob", "test-*"])
    senders = Senders(keys_path(tmp_path))
    assert senders.objection(TOPIC, KEY, VALUE, headers_of(adas)) == ""
    assert senders.objection(TOPIC, b"test-1", b"{}", headers_of(bobs, b"test-1", b"{}")) == ""

    assert "no key's id" in senders.objection(TOPIC, KEY, VALUE, [])
    assert "not for agent `ada`" in senders.objection(TOPIC, KEY, VALUE, headers_of(bobs))
    for changed in ((TOPIC + "x", KEY, VALUE), (TOPIC, b"bob", VALUE), (TOPIC, KEY, VALUE + b" "), (TOPIC, KEY, None)):
        assert "is not what the holder" in senders.objection(*changed, headers_of(adas))
    of_another = b'{"agent_id":"bob"}'
    assert "of another agent" in senders.objection(TOPIC, KEY, of_another, headers_of(adas, KEY, of_another))

    keys.revoke(ada.key_id)
    assert "not any more" in Senders(keys_path(tmp_path)).objection(TOPIC, KEY, VALUE, headers_of(adas))


def test_the_key_itself_does_not_travel_and_its_hash_opens_no_gateway(keys: ApiKeys) -> None:
    key, text = keys.add(["ada"])
    sent = b"".join(value for _, value in headers_of(text))
    assert text.encode() not in sent
    assert text.rpartition("_")[2].encode() not in sent
    assert keys.verify(f"vtk_{key.key_id}_{key.mac_key[:43]}") is None


@given(st.lists(st.tuples(st.sampled_from([KEY_HEADER, MAC_HEADER, "x"]), st.binary(max_size=50)), max_size=4))
def test_no_headers_break_the_look(headers: list[tuple[str, bytes]]) -> None:
    assert Senders(Path("/nowhere/keys.json")).objection(TOPIC, KEY, b"\xff", headers)


def test_text_that_is_no_key_vouches_for_nothing() -> None:
    assert Sender.of(None) is Sender.of("") is Sender.of("vtk_something") is None


def test_a_setting_that_is_neither_yes_nor_no_is_named() -> None:
    assert Settings.from_env({"VAULTAK_REQUIRE_KEYS": "yes"}).require_keys
    with pytest.raises(ConfigurationError, match="VAULTAK_REQUIRE_KEYS: `perhaps`"):
        Settings.from_env({"VAULTAK_REQUIRE_KEYS": "perhaps"})


def act(broker: Broker, topics: Topics, directory: Path, api_key: str) -> str:
    """`ada` acts once, in a program with this key; the action's id."""
    env = {
        "VAULTAK_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "VAULTAK_TOPIC_PREFIX": topics.prefix,
        "VAULTAK_DATA_DIR": str(directory),
        "VAULTAK_API_KEY": api_key,
    }
    with Vaultak(settings=Settings.from_env(env), rollback_limit=0) as vt:
        monitor = vt.monitor("ada", intercept=False)
        verdict = monitor.check("tool_call", "tool:look", {"q": 1})
        monitor.after(verdict.action_id, OutcomeStatus.OK)
        assert vt.flush(20)
    return verdict.action_id


@pytest.mark.stack
async def test_an_impostor_is_not_judged_not_counted_and_told_of(
    broker: Broker,
    topics: Topics,
    clickhouse_database: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VAULTAK_REQUIRE_KEYS", "1")
    here = tmp_path / "data"
    here.mkdir()
    keys = ApiKeys(keys_path(here))
    _, adas = keys.add(["ada"])
    _, bobs = keys.add(["bob"])
    migrate(clickhouse_database("admin"))
    sink = SinkProcess(broker, topics, clickhouse_database("writer"), here)
    try:
        with running_worker(broker.bootstrap_servers, topics, here):
            async with reader(broker.bootstrap_servers, topics.verdicts, topics.dead_letter, topics.incidents) as all_:
                genuine = act(broker, topics, tmp_path / "a", adas)
                act(broker, topics, tmp_path / "b", bobs)
                act(broker, topics, tmp_path / "c", "")
                records = await read_until(all_, lambda found: len(found) >= 1 + 4 + 1)
        verdicts = [decode_verdict(r.value).action_id for r in records if r.topic == topics.verdicts]
        assert verdicts == [genuine]
        letters = [decode_dead_letter(r.value).reason for r in records if r.topic == topics.dead_letter]
        assert letters == ["unauthenticated"] * 4
        (incident,) = (r.value for r in records if r.topic == topics.incidents)
        assert b"somebody sends in the name of `ada`" in incident
        with connect(clickhouse_database("viewer")) as store:
            count = "SELECT countIf(kind = 'action'), countIf(kind = 'unauthenticated') FROM events"
            await stored(lambda: store.query(count).rows == [(1, 4)], sink)
            assert store.query("SELECT action_id FROM actions").rows == [(genuine,)]
    finally:
        sink.kill()


async def stored(holds: Callable[[], bool], sink: SinkProcess) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, sink.log
        await asyncio.sleep(0.1)
