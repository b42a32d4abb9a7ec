"""Before a worker starts: the broker answers, the topics are there, the changelog is made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from vaultak.config import Settings
from vaultak.kafka_clients import client_kwargs
from vaultak_streams.agents.options import changelog_topic

log = logging.getLogger("vaultak.worker")

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 10.0

EMBEDDED_CLUSTER_ID = "vaultak-embedded"

MAX_REPLICATION = 3


class Ready(NamedTuple):
    partitions: int
    """Of the actions topic."""
    embedded: bool
    """The broker is the stack's own."""


class NotReadyError(Exception):
    """What is missing, in one line."""


async def wait_until_ready(settings: Settings, say: Callable[[str], None]) -> Ready:
    """Wait, with growing pauses, until the broker answers and has every topic; says what is missing when it changes.

    Makes the changelog topic if it is missing: compacted, with as many partitions as the actions topic.
    """
    wait_s, told = FIRST_WAIT_S, ""
    while True:
        try:
            return await check(settings)
        except (NotReadyError, KafkaError, OSError, TimeoutError) as e:
            reason = str(e) if isinstance(e, NotReadyError) else _no_answer(settings, e)
        if reason != told:
            say(reason)
            log.warning("%s; trying again until it is there", reason)
        told = reason
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 1.6, LONGEST_WAIT_S)


def _no_answer(settings: Settings, error: BaseException) -> str:
    return f"no broker answers at `{settings.bootstrap_servers}` ({type(error).__name__})"


async def check(settings: Settings) -> Ready:
    """One look. Raises `NotReadyError`, `KafkaError` or `OSError`."""
    admin = AIOKafkaAdminClient(**client_kwargs(settings), request_timeout_ms=10_000)
    try:
        await admin.start()
        topics = settings.topics
        needed = (topics.actions, topics.verdicts, topics.control, topics.agent_state, topics.incidents)
        present = set(await admin.list_topics())
        if missing := [name for name in (*needed, topics.dead_letter) if name not in present]:
            raise NotReadyError(
                f"the broker at `{settings.bootstrap_servers}` has no topic `{missing[0]}`; create the topics of"
                " infra/kafka/topics.yaml, or let `vaultak up` do it"
            )
        cluster: dict[str, Any] = await admin.describe_cluster()
        partitions = await _partitions(admin, topics.actions)
        changelog = changelog_topic(settings)
        if changelog not in present:
            await _create_changelog(admin, changelog, partitions, len(cluster["brokers"]))
        elif (found := await _partitions(admin, changelog)) < partitions:
            raise NotReadyError(f"`{changelog}` has {found} partitions, `{topics.actions}` has {partitions}; add some")
        return Ready(partitions, cluster.get("cluster_id") == EMBEDDED_CLUSTER_ID)
    finally:
        await admin.close()


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> int:
    described = await admin.describe_topics([topic])
    if not described or not described[0]["partitions"]:
        raise NotReadyError(f"the broker does not tell the partitions of `{topic}` yet")
    return len(described[0]["partitions"])


async def _create_changelog(admin: AIOKafkaAdminClient, name: str, partitions: int, brokers: int) -> None:
    replication = min(MAX_REPLICATION, max(1, brokers))
    # A changelog is read in full at a restart: segments are closed soon, so that compaction keeps it short.
    configs = {"cleanup.policy": "compact", "segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.2"}
    if replication >= MAX_REPLICATION:
        configs["min.insync.replicas"] = "2"
    answer = await admin.create_topics([NewTopic(name, partitions, replication, topic_configs=configs)])
    for topic, code, *detail in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise NotReadyError(f"cannot create `{topic}`: {detail[0] if detail else f'error {code}'}")
    raise NotReadyError(f"`{name}` is being made")
