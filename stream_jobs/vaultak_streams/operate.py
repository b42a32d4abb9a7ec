"""What an operator does to an agent: a signed command on the control topic, and the acknowledgements that follow."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from vaultak.approvals import DEFAULT_GRANT_S, GrantScope
from vaultak.config import Settings
from vaultak.control.partition import partition_of, partitions_of
from vaultak.errors import VaultakError
from vaultak.kafka_clients import client_kwargs, end_client
from vaultak.wire import (
    Ack,
    AgentState,
    Command,
    CommandType,
    DecodeError,
    StateRecord,
    ce_headers,
    decode_ack,
    encode,
    format_ts,
    uuid7,
)
from vaultak.wire.commands import EVERY_AGENT

COMMAND_LIFETIME_S = 300.0
"""How long a command may wait for its agent; an agent that starts later learns its state from `agent-state`."""

ACK_GRACE_S = 0.4
"""How long to wait for the other instances of an agent after the first has answered."""

STATE_AFTER = {
    CommandType.PAUSE: AgentState.PAUSED,
    CommandType.RESUME: AgentState.RUNNING,
    CommandType.KILL: AgentState.KILLED,
}

Signer = Callable[[Command], Command]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A command and what the agent's instances answered within the time given."""

    command: Command
    acks: tuple[Ack, ...]


class Grant(msgspec.Struct, frozen=True):
    """What an approval covers besides the action that waits, and for how many seconds from now."""

    scope: GrantScope
    for_s: float = DEFAULT_GRANT_S

    def added_to(self, command: Command) -> Command:
        if self.scope is GrantScope.ONCE:
            return command
        until = format_ts(time.time() + self.for_s)
        return msgspec.structs.replace(command, scope=self.scope.value, grant_until=until)


class BrokerUnavailableError(VaultakError):
    """The broker did not answer."""


async def send_command(
    settings: Settings,
    sign: Signer,
    agent_id: str,
    command: CommandType,
    *,
    reason: str = "",
    action_id: str = "",
    incident_id: str = "",
    issued_by: str = "operator",
    ack_timeout_s: float = 3.0,
    grant: Grant | None = None,
) -> Delivery:
    """Publish one command, remember the state it leads to, and collect acknowledgements.

    `grant` goes with an approval: what else it covers.

    The acks partition is read from its end as it was *before* the command, so no answer is missed. Raises
    `BrokerUnavailableError` when nothing could be sent.
    """
    unsigned = _command(agent_id, command, reason, action_id, incident_id, issued_by)
    signed = sign(unsigned if grant is None else grant.added_to(unsigned))
    async with _clients(settings) as (producer, consumer):
        await _seek_to_end(consumer, settings.topics.acks, agent_id)
        await _publish(producer, settings, signed)
        acks = [ack async for ack in _answers(consumer, signed.command_id, ack_timeout_s)]
    return Delivery(command=signed, acks=tuple(acks))


def _command(
    agent_id: str, command: CommandType, reason: str, action_id: str, incident_id: str, issued_by: str
) -> Command:
    now_us = time.time_ns() // 1000
    return Command(
        command_id=uuid7(),
        agent_id=agent_id,
        command=command,
        ts=format_ts(now_us / 1e6),
        expires_at=format_ts(now_us / 1e6 + COMMAND_LIFETIME_S),
        issued_by=issued_by,
        epoch=now_us if command in STATE_AFTER else 0,
        action_id=action_id,
        incident_id=incident_id,
        reason=reason,
    )


@contextlib.asynccontextmanager
async def _clients(settings: Settings) -> AsyncIterator[tuple[AIOKafkaProducer, AIOKafkaConsumer]]:
    kwargs = client_kwargs(settings)
    producer = AIOKafkaProducer(**kwargs, acks="all", linger_ms=0)
    consumer = AIOKafkaConsumer(**kwargs, auto_offset_reset="latest", fetch_max_wait_ms=50)
    try:
        await producer.start()
        await consumer.start()
        yield producer, consumer
    except (KafkaError, OSError) as e:
        raise BrokerUnavailableError(f"no broker answers at `{settings.bootstrap_servers}`: {e}") from None
    finally:
        await end_client(consumer)
        await end_client(producer)


async def _seek_to_end(consumer: AIOKafkaConsumer, topic: str, agent_id: str) -> None:
    try:
        partitions = await partitions_of(consumer, topic)
    except LookupError as e:
        raise BrokerUnavailableError(f"{e}; run `vaultak up` or create the topics first") from None
    wanted = partitions if agent_id == EVERY_AGENT else {partition_of(agent_id, len(partitions))}
    assigned = [TopicPartition(topic, partition) for partition in sorted(wanted)]
    consumer.assign(assigned)
    await consumer.seek_to_end(*assigned)
    for partition in assigned:
        await consumer.position(partition)


async def _publish(producer: AIOKafkaProducer, settings: Settings, command: Command) -> None:
    key, source = command.agent_id.encode(), f"/operators/{command.issued_by}"
    topics = settings.topics
    headers = ce_headers("command", command.command_id, source, command.ts)
    await producer.send_and_wait(
        topics.control, encode(command), key=key, headers=[*headers, ("signature", command.signature.encode())]
    )
    if state := STATE_AFTER.get(command.command):
        record = StateRecord(
            agent_id=command.agent_id, state=state, epoch=command.epoch, ts=command.ts, command=command
        )
        await producer.send_and_wait(
            topics.agent_state,
            encode(record),
            key=key,
            headers=ce_headers("agent-state", command.command_id, source, command.ts),
        )


async def _answers(consumer: AIOKafkaConsumer, command_id: str, timeout_s: float) -> AsyncIterator[Ack]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while (left := deadline - loop.time()) > 0:
        batches = await consumer.getmany(timeout_ms=max(1, int(min(left, 0.1) * 1000)))
        for records in batches.values():
            for record in records:
                with contextlib.suppress(DecodeError):
                    ack = decode_ack(record.value)
                    if ack.command_id == command_id:
                        deadline = min(deadline, loop.time() + ACK_GRACE_S)
                        yield ack
