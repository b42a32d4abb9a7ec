"""From Kafka to ClickHouse through real parts: everything that was delivered shows once, whatever dies on the way."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from contract.examples import EXAMPLES
from e2e.sink_process import SinkProcess
from vaultak import wire
from vaultak_devstack.broker import Broker
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.migrations import migrate

pytestmark = pytest.mark.stack

EVAL = Path(os.environ.get("VAULTAK_EVAL_DIR", Path(__file__).parents[3] / "shared" / "eval"))
Message = tuple[str, bytes, bytes]


async def _publish(broker: Broker, messages: Sequence[Message]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, acks="all")
    await producer.start()
    try:
        sent = [await producer.send(topic, value, key=key) for topic, key, value in messages]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def publish(broker: Broker, messages: Sequence[Message]) -> None:
    asyncio.run(_publish(broker, messages))


def wait_for(ask: Callable[[], bool], why: Callable[[], str], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not ask():
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)


def one(store: Store, sql: str) -> int:
    return int(store.query(sql).rows[0][0])


@pytest.fixture
def store(clickhouse_database: Callable[..., str]) -> Store:
    migrate(clickhouse_database("admin"))
    return connect(clickhouse_database("viewer"))


@pytest.fixture
def sink(
    broker: Broker, topics: wire.Topics, store: Store, clickhouse_database: Callable[..., str], tmp_path: Path
) -> Iterator[SinkProcess]:
    process = SinkProcess(broker, topics, clickhouse_database("writer"), tmp_path)
    yield process
    process.kill()


def action(n: int, agent: str = "a") -> wire.Action:
    return wire.Action(
        schema_version=1, agent_id=agent, session_id="s", ts=wire.format_ts(1_770_000_000 + n),
        action_id=f"{agent}-{n}", action_type=wire.ActionType.TOOL_CALL, resource="tool:t", payload={"n": n},
    )  # fmt: skip


def verdict(of: wire.Action, decision: wire.Decision = wire.Decision.ALLOW, risk: float = 0.1) -> wire.Verdict:
    return wire.Verdict(
        action_id=of.action_id, agent_id=of.agent_id, session_id=of.session_id, ts=of.ts, scored_ts=of.ts, risk=risk,
        factors=wire.Factors(destructiveness=0.3), decision=decision, policy_version="p-1", model_version="m-1",
    )  # fmt: skip


def outcome(of: wire.Action) -> wire.Outcome:
    return wire.Outcome(
        schema_version=1, agent_id=of.agent_id, session_id=of.session_id, ts=of.ts, action_id=of.action_id,
        status=wire.OutcomeStatus.OK, duration_ms=1.5, content="done",
    )  # fmt: skip


def test_an_action_its_outcome_and_its_verdict_are_one_row_in_whatever_order(
    broker: Broker, topics: wire.Topics, store: Store, sink: SinkProcess
) -> None:
    a = action(1)
    key = b"a"
    publish(
        broker,
        [
            (topics.verdicts, key, wire.encode(verdict(a, wire.Decision.PAUSE, 0.9))),
            (topics.actions, key, wire.encode(outcome(a))),
            (topics.actions, key, wire.encode(a)),
            (topics.actions, key, wire.encode(a)),  # an SDK that died before it saw the acknowledgement
            (topics.verdicts, key, wire.encode(verdict(a, wire.Decision.PAUSE, 0.9))),
        ],
    )
    question = "SELECT count() FROM actions WHERE outcome_status = 'ok' AND decision = 'pause' AND risk = 0.9"
    wait_for(lambda: one(store, question) == 1, lambda: sink.log)
    assert one(store, "SELECT count() FROM actions") == 1
    wait_for(lambda: one(store, "SELECT count() FROM events") == 2, lambda: sink.log)  # its table is filled after
    assert store.query("SELECT actions, stopped, max_risk FROM agent_minutes").rows == [(1, 1, 0.9)]
    assert store.query("SELECT version FROM policy_versions").rows == [("p-1",)]


def test_commands_answers_states_incidents_and_dead_letters_have_their_tables(
    broker: Broker, topics: wire.Topics, store: Store, sink: SinkProcess
) -> None:
    homes = {
        "commands": (topics.control, EXAMPLES["command"]),
        "acks": (topics.acks, EXAMPLES["ack"]),
        "agent_states": (topics.agent_state, EXAMPLES["agent-state"]),
        "incidents": (topics.incidents, EXAMPLES["incident"]),
        "dead_letters": (topics.dead_letter, EXAMPLES["dead-letter"]),
    }
    publish(broker, [(topic, b"k", wire.encode(message)) for topic, message in homes.values() for _ in range(2)])
    for table in homes:
        wait_for(lambda table=table: one(store, f"SELECT count() FROM {table}") >= 1, lambda: sink.log)
    for table in ("commands", "acks"):
        wait_for(lambda table=table: one(store, f"SELECT count() FROM {table}") == 1, lambda: sink.log)


def test_bytes_that_are_no_message_are_kept_and_counted_and_the_sink_goes_on(
    broker: Broker, topics: wire.Topics, store: Store, sink: SinkProcess
) -> None:
    publish(
        broker,
        [
            (topics.actions, b"a", b"{broken"),
            (topics.actions, b"\xff\xfe", b"\x00\xff"),
            (topics.verdicts, b"a", b"null"),
            (topics.actions, b"a", wire.encode(action(1))),
        ],
    )
    wait_for(lambda: one(store, "SELECT count() FROM actions") == 1, lambda: sink.log)
    wait_for(lambda: one(store, "SELECT count() FROM events WHERE kind = 'undecodable'") == 2, lambda: sink.log)
    wait_for(lambda: one(store, "SELECT count() FROM dead_letters WHERE reason = 'undecodable'") == 1, lambda: sink.log)


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_twice_through_kill_9_of_sink_and_clickhouse(
    broker: Broker, topics: wire.Topics, tmp_path: Path
) -> None:
    seed = int(os.environ.get("VAULTAK_TEST_SEED", random.randrange(10**6)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    server = ClickHouseServer(tmp_path / "clickhouse")
    server.start()
    migrate(server.dsn("admin"))
    sink = SinkProcess(broker, topics, server.dsn("writer"), tmp_path)
    emitted = [action(n, agent=f"agent-{n % 7}") for n in range(6000)]
    try:
        for start in range(0, len(emitted), 1000):
            chunk = emitted[start : start + 1000]
            again = dice.sample(chunk, 50)
            publish(broker, [(topics.actions, a.agent_id.encode(), wire.encode(a)) for a in [*chunk, *again]])
            publish(broker, [(topics.verdicts, a.agent_id.encode(), wire.encode(verdict(a))) for a in [*chunk, *again]])
            time.sleep(dice.uniform(0.0, 1.5))
            if dice.random() < 0.5:
                sink.kill()
                sink.start()
            else:
                server.kill()
                time.sleep(dice.uniform(0.0, 0.7))
                server.start()
        store = connect(server.dsn("viewer"))
        complete = "SELECT count() FROM actions WHERE decision = 'allow'"
        wait_for(lambda: one(store, complete) == len(emitted), lambda: f"seed {seed}\n{sink.log[-4000:]}", 90)
        assert sink.stop() == 0
        assert one(store, "SELECT count() FROM actions") == len(emitted)
        assert one(store, "SELECT count() FROM events") == len(emitted)
        assert one(store, "SELECT sum(actions) FROM agent_minutes") == len(emitted)
        assert one(store, "SELECT sum(actions) FROM agents") == len(emitted)
    finally:
        sink.kill()
        server.stop()


@pytest.mark.slow
@pytest.mark.skipif(not EVAL.is_dir(), reason="the recorded runs are not here (VAULTAK_EVAL_DIR)")
def test_every_recorded_event_is_there_once(
    broker: Broker, topics: wire.Topics, store: Store, sink: SinkProcess
) -> None:
    lines = [line.strip() for path in sorted(EVAL.glob("agentdojo/*.jsonl.gz")) for line in gzip.open(path)]
    events = [json.loads(line) for line in lines]
    publish(broker, [(topics.actions, e["agent_id"].encode(), v) for e, v in zip(events, lines, strict=True)])
    actions = sum(e["kind"] == "action" for e in events)
    wait_for(lambda: one(store, "SELECT count() FROM events") >= len(lines), lambda: sink.log)
    wait_for(lambda: one(store, "SELECT count() FROM actions") >= actions, lambda: sink.log)
    assert one(store, "SELECT count() FROM events") == len(lines)
    assert one(store, "SELECT count() FROM actions") == actions
