"""Everything a step leads to, on its way to the topics: signed, with CloudEvents headers, each delivery awaited."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from vaultak.wire import (
    Command,
    DeadLetter,
    Incident,
    PeerSighting,
    StateRecord,
    Topics,
    Verdict,
    ce_headers,
    encode,
    format_ts,
)
from vaultak_streams.pipeline.step import StepResult

Signer = Callable[[Command], Command]
SightingSigner = Callable[[PeerSighting], PeerSighting]
Delivery = Awaitable[Any]


class Message(NamedTuple):
    """One of many for the same topic."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Producer(Protocol):
    """What is needed of a Kafka producer: a returned awaitable is done once the brokers have the message, or batch."""

    async def deliver(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int | None, headers: Any
    ) -> Delivery: ...

    async def deliver_batch(self, topic: str, messages: Sequence[Message]) -> list[Delivery]: ...


class Publisher:
    """Sends results in order; `take` hands over the deliveries that a checkpoint has to wait for."""

    def __init__(
        self, topics: Topics, sign: Signer, sign_sighting: SightingSigner, source: str, producer: Producer
    ) -> None:
        self._topics = topics
        self._sign = sign
        self._sign_sighting = sign_sighting
        self._source = source
        self._producer = producer
        self._outstanding: list[Delivery] = []
        self.outstanding = 0
        """Messages since the last call of `take`."""

    def take(self) -> list[Delivery]:
        """The deliveries since the last call."""
        taken, self._outstanding, self.outstanding = self._outstanding, [], 0
        return taken

    async def publish(self, result: StepResult) -> None:
        """Send all of a result. Commands first: they are what an agent in trouble is waiting for.

        Waits while the producer's buffers are full. Raises what the producer raises.
        """
        signed = {command.command_id: self._sign(command) for command in result.commands}
        for command in signed.values():
            await self._command(command)
        for state in result.states:
            await self._state(msgspec.structs.replace(state, command=signed[state.command.command_id]))
        for incident in result.incidents:
            await self._incident(incident)
        if result.verdicts:
            messages = [self._verdict(verdict) for verdict in result.verdicts]
            self._outstanding += await self._producer.deliver_batch(self._topics.verdicts, messages)
            self.outstanding += len(messages)
        for letter in result.dead_letters:
            await self._dead_letter(letter)
        for sighting in result.sightings:
            await self._sighting(self._sign_sighting(sighting))

    async def save(self, topic: str, partition: int, entries: list[tuple[str, bytes | None]]) -> list[Delivery]:
        """Write states into a changelog; returns the deliveries. `None` is a tombstone."""
        deliver = self._producer.deliver
        return [await deliver(topic, value, agent_id.encode(), partition, []) for agent_id, value in entries]

    async def _command(self, command: Command) -> None:
        headers = ce_headers("command", command.command_id, self._source, command.ts)
        headers += [("signature", command.signature.encode()), ("key_id", command.key_id.encode())]
        await self._send(self._topics.control, command.agent_id, encode(command), headers)

    async def _state(self, state: StateRecord) -> None:
        headers = ce_headers("agent-state", state.command.command_id, self._source, state.ts)
        await self._send(self._topics.agent_state, state.agent_id, encode(state), headers)

    async def _incident(self, incident: Incident) -> None:
        headers = ce_headers("incident", incident.incident_id, self._source, incident.ts)
        await self._send(self._topics.incidents, incident.agent_id, encode(incident), headers)

    def _verdict(self, verdict: Verdict) -> Message:
        headers = ce_headers("verdict", verdict.action_id, self._source, verdict.scored_ts)
        return Message(verdict.agent_id.encode(), encode(verdict), headers)

    async def _dead_letter(self, letter: DeadLetter) -> None:
        where = f"{letter.topic}/{letter.partition}/{letter.offset}"
        headers = ce_headers("dead-letter", where, self._source, letter.ts)
        await self._send(self._topics.dead_letter, None, encode(letter), headers)

    async def _sighting(self, sighting: PeerSighting) -> None:
        key = f"{sighting.role}\n{sighting.thing}\n{sighting.agent_id}\n"
        identity = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        headers = ce_headers("peer-sighting", identity, self._source, format_ts(sighting.ts_us / 1e6))
        await self._send(self._topics.baselines, key, encode(sighting), headers)

    async def _send(self, topic: str, key: str | None, value: bytes, headers: Any) -> None:
        delivery = await self._producer.deliver(topic, value, None if key is None else key.encode(), None, headers)
        self._outstanding.append(delivery)
        self.outstanding += 1
