"""The operator's side in tests: signs commands, publishes them and state records, reads what agents publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultak.config import Settings
from vaultak.control import key_id_of, sign
from vaultak.control.partition import partitions_of
from vaultak.wire import (
    Ack,
    AgentState,
    Command,
    CommandType,
    Event,
    StateRecord,
    Topics,
    decode_ack,
    decode_event,
    encode,
    format_ts,
    uuid7,
)
from vaultak_devstack.embedded_offsets import end_offsets

WAIT_S = 20.0


def settings(tmp_path: Path, servers: str, topics: Topics, **changes: Any) -> Settings:
    """Settings of a deployment of the test's own."""
    members: dict[str, Any] = {
        "bootstrap_servers": servers,
        "topics": topics,
        "data_dir": tmp_path,
        "spool_dir": tmp_path / "spool",
    }
    return Settings(**members | changes)


def until(holds: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Wait for a condition; fails the test when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class Operator:
    """Someone with a signing key that the deployment in `data_dir` trusts."""

    def __init__(self, data_dir: Path, servers: str, topics: Topics) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.servers = servers
        self.topics = topics
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        trusted = data_dir / "keys" / "trusted"
        trusted.mkdir(parents=True, exist_ok=True)
        (trusted / f"{key_id_of(public)}.pub").write_text(public.hex())
        self._epoch = 0

    def command(self, agent_id: str, command: str, **changes: Any) -> Command:
        """A signed command, valid for a minute; state commands get the next epoch."""
        now = time.time()
        if command in ("pause", "resume", "kill"):
            self._epoch += 1
        members: dict[str, Any] = {
            "command_id": uuid7(),
            "agent_id": agent_id,
            "command": CommandType(command),
            "ts": format_ts(now),
            "expires_at": format_ts(now + 60),
            "issued_by": "test",
            "epoch": self._epoch,
        }
        return sign(Command(**members | changes), self.key)

    async def send(self, *commands: Command) -> None:
        await self._publish([(self.topics.control, c.agent_id, encode(c)) for c in commands])

    async def order(self, agent_id: str, command: str, **changes: Any) -> Command:
        """Sign and send."""
        signed = self.command(agent_id, command, **changes)
        await self.send(signed)
        return signed

    async def record_state(self, command: Command, state: AgentState) -> None:
        record = StateRecord(
            agent_id=command.agent_id, state=state, epoch=command.epoch, ts=command.ts, command=command
        )
        await self._publish([(self.topics.agent_state, command.agent_id, encode(record))])

    async def _publish(self, messages: list[tuple[str, str, bytes]]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.servers)
        await producer.start()
        try:
            for topic, key, value in messages:
                await producer.send_and_wait(topic, value, key=key.encode())
        finally:
            await producer.stop()

    async def acks(self, *command_ids: str, timeout_s: float = WAIT_S) -> dict[str, Ack]:
        """The acknowledgements of commands, by command id; fails when one does not come."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = {a.command_id: a for a in map(decode_ack, await read_all(self.servers, self.topics.acks))}
            if set(command_ids) <= set(found):
                return found
            assert time.monotonic() < deadline, f"no acknowledgement of {set(command_ids) - set(found)}: {found}"


async def read_all(servers: str, topic: str) -> list[bytes]:
    """Everything on a topic, in order per partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, fetch_max_wait_ms=10, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in sorted(await partitions_of(consumer, topic))]
        ends = {p: end for p, end in (await end_offsets(servers, partitions)).items() if end}
        if not ends:
            return []
        consumer.assign(list(ends))
        await consumer.seek_to_beginning(*ends)
        values: list[bytes] = []
        while any([await consumer.position(p) < end for p, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=20)).values():
                values += [record.value for record in records]
        return values
    finally:
        await consumer.stop()


async def read_events(servers: str, topics: Topics) -> list[Event]:
    """Every event on the actions topic."""
    return [decode_event(value)[0] for value in await read_all(servers, topics.actions)]
