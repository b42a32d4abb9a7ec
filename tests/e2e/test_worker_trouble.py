"""Bad input, an absent broker, a clean stop: the worker says so, goes on, and loses nothing."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from e2e.worker_process import WorkerProcess, publish, read_until, reader, running_worker
from vaultak import wire
from vaultak.wire import Topics, decode_dead_letter, decode_verdict
from vaultak_devstack.broker import Broker
from vaultak_devstack.broker_embedded import EmbeddedBroker
from vaultak_devstack.keys import policy_signer, promotion_signer
from vaultak_devstack.ports import free_port
from vaultak_devstack.topics import ensure_topics
from vaultak_models.model import RiskModel
from vaultak_models.registry import Registry, Window
from vaultak_models.training import Fitted
from vaultak_streams.models import registry_of
from vaultak_streams.models.promotions import publish as promote
from vaultak_streams.policy import bundle_from
from vaultak_streams.policy.push import push

pytestmark = [pytest.mark.stack, pytest.mark.slow]


def action(n: int, **members: Any) -> bytes:
    event = {
        "schema_version": 1,
        "kind": "action",
        "agent_id": "bot",
        "session_id": "s",
        "ts": f"2026-03-02T08:08:{n % 60:02}.000000Z",
        "action_id": f"a-{n}",
        "action_type": "file_read",
        "resource": f"/tmp/{n}",
        "payload": {},
        **members,
    }
    return json.dumps(event).encode()


BAD = {
    b"{malformed": "malformed_json",
    b"\xff\xfe\x00": "malformed_json",
    b"null": "invalid",
    b'"null"null': "invalid",
    action(100, action_type="teleport"): "invalid",
    action(101, kind="dance"): "invalid",
    action(102, agent_id=""): "invalid",
    action(103, ts="yesterday, about noon-ish"): "bad_timestamp",
    action(104, ts="2033-01-01T00:00:00.000000Z"): "clock_skew",
    action(105, payload={"x": "y" * 900_000}): "too_large",
    action(106, agent_id="someone-else"): "key_mismatch",
}


async def test_bad_input_is_kept_with_its_reason_counted_and_the_rest_is_judged(
    broker: Broker, topics: Topics, tmp_path: Path
) -> None:
    servers = broker.bootstrap_servers
    mixed = [message for n, bad in enumerate(BAD) for message in ((b"bot", bad), (b"bot", action(n)))]
    with running_worker(servers, topics, tmp_path) as worker:
        await publish(servers, topics.actions, mixed)
        async with reader(servers, topics.verdicts, topics.dead_letter) as both:
            records = await read_until(both, lambda found: len(found) >= 2 * len(BAD))
        status = await worker.until(lambda status: status.counters.get("records") == len(mixed))

    letters = sorted(
        (decode_dead_letter(r.value) for r in records if r.topic == topics.dead_letter), key=lambda one: one.offset
    )
    assert [letter.reason for letter in letters] == list(BAD.values())
    assert [letter.topic for letter in letters] == [topics.actions] * len(BAD)
    assert [decode_verdict(r.value).action_id for r in records if r.topic == topics.verdicts] == [
        f"a-{n}" for n in range(len(BAD))
    ]
    for reason in set(BAD.values()):
        assert status.counters[f"dead_letters.{reason}"] == list(BAD.values()).count(reason)


async def test_a_clean_stop_leaves_nothing_to_do_again(broker: Broker, topics: Topics, tmp_path: Path) -> None:
    servers = broker.bootstrap_servers
    with running_worker(servers, topics, tmp_path) as worker:
        async with reader(servers, topics.verdicts) as verdicts:
            await publish(servers, topics.actions, ((b"bot", action(n)) for n in range(50)))
            await read_until(verdicts, lambda found: len(found) >= 50)
            assert worker.stop() == 0
            worker.start()
            await publish(servers, topics.actions, ((b"bot", action(n)) for n in range(50, 60)))
            after = [decode_verdict(r.value) for r in await read_until(verdicts, lambda found: len(found) >= 10)]
        status = await worker.until(lambda status: status.counters.get("records", 0) >= 10)
    assert [verdict.action_id for verdict in after] == [f"a-{n}" for n in range(50, 60)]
    assert status.counters.get("records") == 10
    assert "profiles of 1 agents restored" in worker.log


async def test_a_broker_that_comes_late_or_goes_away_is_waited_for(tmp_path: Path) -> None:
    port = free_port()
    topics = Topics("late")
    worker = WorkerProcess(f"127.0.0.1:{port}", topics, tmp_path)
    worker.start()
    try:
        status = await worker.until(lambda status: status.state == "waiting")
        assert f"no broker answers at `127.0.0.1:{port}`" in status.detail
        for life in range(2):  # the embedded broker keeps nothing: each life begins with empty topics
            with EmbeddedBroker(port=port, log_dir=tmp_path) as broker:
                await ensure_topics(broker.bootstrap_servers, topics.prefix)
                await publish(broker.bootstrap_servers, topics.actions, [(b"bot", action(life))])
                async with reader(broker.bootstrap_servers, topics.verdicts) as verdicts:
                    (record,) = await read_until(verdicts, lambda found: len(found) == 1)
                assert decode_verdict(record.value).action_id == f"a-{life}"
        assert worker.stop() == 0
    finally:
        worker.kill()
    assert worker.log.count("no broker answers") <= 3, "said once per absence, not once per try"
    assert "Traceback" not in worker.log


async def test_a_pushed_policy_counts_from_the_next_action_on(broker: Broker, topics: Topics, tmp_path: Path) -> None:
    servers = broker.bootstrap_servers
    rule = "title: T\nid: pushed\ndetection: {selection: {agent_id: bot}, condition: selection}\nenforce: alert\n"
    with running_worker(servers, topics, tmp_path) as worker:
        before = (await worker.until(lambda status: status.state == "running")).policy_version
        async with reader(servers, topics.verdicts) as verdicts:
            await publish(servers, topics.actions, [(b"bot", action(0))])
            [first] = await read_until(verdicts, lambda found: len(found) >= 1)
            await push(worker.settings, policy_signer(tmp_path), bundle_from([("r.yaml", rule)]), wait_s=0.1)
            await worker.until(lambda status: status.policy_version != before)
            await publish(servers, topics.actions, [(b"bot", action(1))])
            [second] = await read_until(verdicts, lambda found: len(found) >= 1)
    verdict = decode_verdict(second.value)
    assert decode_verdict(first.value).rules == ()
    assert verdict.rules == ("pushed",)
    assert verdict.policy_version not in ("", before)


async def test_a_promoted_model_judges_from_the_next_action_on(broker: Broker, topics: Topics, tmp_path: Path) -> None:
    servers = broker.bootstrap_servers
    with running_worker(servers, topics, tmp_path) as worker:
        before = (await worker.until(lambda status: status.state == "running")).model_version
        registry = registry_of(worker.settings)
        version = trained(registry)
        async with reader(servers, topics.verdicts) as verdicts:
            await publish(servers, topics.actions, [(b"bot", action(n)) for n in range(10)])
            found = await read_until(verdicts, lambda found: len(found) >= 10)
            registry.promote(version)
            await worker.until(lambda status: status.model_version == version)
            await publish(servers, topics.actions, [(b"bot", action(n)) for n in range(10, 20)])
            found += await read_until(verdicts, lambda found: len(found) >= 10)
    judged = [decode_verdict(record.value) for record in found]
    assert [verdict.action_id for verdict in judged] == [f"a-{n}" for n in range(20)]
    assert [verdict.model_version for verdict in judged] == [before] * 10 + [version] * 10


async def test_a_promotion_reaches_workers_on_other_hosts_if_it_is_signed_by_who_is_trusted_there(
    broker: Broker, topics: Topics, tmp_path: Path
) -> None:
    servers = broker.bootstrap_servers
    here, there, stranger = (tmp_path / name for name in ("here", "there", "stranger"))
    for host in (here, there, stranger):
        host.mkdir()
    operator = WorkerProcess(servers, topics, here).settings
    sign = promotion_signer(here)
    shutil.copytree(here / "keys" / "trusted", there / "keys" / "trusted")
    with running_worker(servers, topics, there) as worker:
        shipped = (await worker.until(lambda status: status.state == "running")).model_version
        registry = registry_of(operator)
        version = trained(registry)
        registry.promote(version)
        await promote(operator, sign, registry)
        await worker.until(lambda status: status.model_version == version)
        assert registry_of(worker.settings).record(version) == registry.record(version)

        forged = registry_of(WorkerProcess(servers, topics, stranger).settings)
        forged.promote(trained(forged, by=2.0))
        await promote(operator, promotion_signer(stranger), forged)
        registry.roll_back()
        damaged = sign(
            wire.ModelPromotion(
                promotion_id=wire.uuid7(), epoch=time.time_ns() // 1000, ts=wire.format_ts(time.time()),
                issued_by="operator", version="1-0123456789ab", files=registry.files_of(version),
            )
        )  # fmt: skip
        await publish(servers, topics.models, [(b"1", wire.encode(damaged)), (b"2", b"{}")])
        await promote(operator, sign, registry)
        status = await worker.until(lambda status: status.model_version == shipped)
        assert status.model_version == shipped
        worker.stop()
        worker.start()
        status = await worker.until(lambda status: status.state == "running")
        assert status.model_version == shipped, "a restart goes by the newest"
    assert "is refused: key" in worker.log
    assert "cannot be used: its arrays are those of" in worker.log
    assert registry_of(worker.settings).versions() == [version]


def trained(registry: Registry, by: float = 1.0) -> str:
    """A version that judges otherwise than the package's."""
    shipped = RiskModel.load()
    fitted = Fitted(shipped._replace(knots=shipped.knots + by), (), {})
    window = Window("a test", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z", 1, 1, 0)
    return registry.add(fitted, window, trained_at="2026-03-03T00:00:00.000000Z").version
