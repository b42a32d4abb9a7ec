"""The pipeline's verdicts, for the actions that came through this gateway."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from vaultak.config import Settings
from vaultak.control.partition import partitions_of
from vaultak.kafka_clients import client_kwargs, end_client, fetch_wait_ms
from vaultak.wire import DecodeError, decode_verdict
from vaultak_streams.gateway.judgement import Judgement

log = structlog.get_logger("vaultak.gateway")

POLL_MS = 200
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 10.0

MAX_RECENT = 20_000
"""Actions whose answer can still be asked for; the oldest is forgotten."""


class Recent:
    """The last actions, by agent and id. An id of one agent says nothing about another's."""

    def __init__(self, limit: int = MAX_RECENT) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, str], Judgement] = OrderedDict()
        self._agents: dict[bytes, int] = {}

    def add(self, judgement: Judgement) -> None:
        self._kept[judgement.agent_id, judgement.action_id] = judgement
        key = judgement.agent_id.encode()
        self._agents[key] = self._agents.get(key, 0) + 1
        while len(self._kept) > self._limit:
            (agent_id, _), _ = self._kept.popitem(last=False)
            self._let_go(agent_id.encode())

    def _let_go(self, key: bytes) -> None:
        self._agents[key] -= 1
        if not self._agents[key]:
            del self._agents[key]

    def get(self, agent_id: str, action_id: str) -> Judgement | None:
        return self._kept.get((agent_id, action_id))

    def concerns(self, key: bytes | None) -> bool:
        """Whether a record under this key may be about one of them."""
        return key in self._agents


class VerdictFollower:
    """Reads the verdicts topic from its end on, without a group: each gateway sees every verdict."""

    def __init__(self, settings: Settings, recent: Recent) -> None:
        self._settings, self._recent = settings, recent
        self.following = asyncio.Event()
        """Set while it follows."""
        self.seen = 0

    async def run(self) -> None:
        """Until cancelled. A broker that is away is waited for; what it said meanwhile is read then."""
        positions: dict[TopicPartition, int] = {}
        delay_s = FIRST_RETRY_S
        while True:
            consumer = AIOKafkaConsumer(
                **client_kwargs(self._settings),
                enable_auto_commit=False,
                auto_offset_reset="latest",
                fetch_max_wait_ms=fetch_wait_ms(self._settings),
            )
            try:
                await consumer.start()
                await self._follow(consumer, positions)
            except (KafkaError, OSError, LookupError, TimeoutError) as e:
                if self.following.is_set() or delay_s == FIRST_RETRY_S:
                    log.warning("verdicts cannot be followed; trying again", error=str(e) or type(e).__name__)
                delay_s = FIRST_RETRY_S if self.following.is_set() else min(delay_s * 2, LAST_RETRY_S)
            finally:
                self.following.clear()
                await end_client(consumer)
            await asyncio.sleep(delay_s)

    async def _follow(self, consumer: AIOKafkaConsumer, positions: dict[TopicPartition, int]) -> None:
        topic = self._settings.topics.verdicts
        partitions = [TopicPartition(topic, number) for number in await partitions_of(consumer, topic)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            known = positions.get(partition, ends[partition])
            consumer.seek(partition, min(known, ends[partition]))
        self.following.set()
        while True:
            for partition, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                for record in records:
                    self._take(record.key, record.value)
                positions[partition] = records[-1].offset + 1

    def _take(self, key: bytes | None, value: bytes | None) -> None:
        if not self._recent.concerns(key):
            return
        try:
            verdict = decode_verdict(value)
        except DecodeError:
            return
        self.seen += 1
        judgement = self._recent.get(verdict.agent_id, verdict.action_id)
        if judgement is not None:
            judgement.judged(verdict)
