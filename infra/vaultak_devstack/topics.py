"""The topics of a deployment: declared in `infra/kafka/topics.yaml`, created where missing, else compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from vaultak.config import Settings
from vaultak.kafka_clients import client_kwargs
from vaultak.wire import Topics
from vaultak_devstack.errors import DevstackError, StartTimeoutError
from vaultak_devstack.resources import infra_path

DAY_MS = 86_400_000
MAX_REPLICATION = 3

_RETRY_S = 0.25


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic should be. `name` is the full one."""

    name: str
    partitions: int
    cleanup: Literal["delete", "compact"]
    retention_ms: int
    max_message_bytes: int

    def configs(self, replication: int) -> dict[str, str]:
        """The topic's settings in Kafka's words."""
        configs = {"cleanup.policy": self.cleanup, "max.message.bytes": str(self.max_message_bytes)}
        if self.cleanup == "delete":
            configs["retention.ms"] = str(self.retention_ms)
        if replication >= MAX_REPLICATION:
            configs["min.insync.replicas"] = "2"
        return configs


class TopicReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `ensure_topics` did and found. A mismatch is a line for people; nothing existing is ever changed."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    mismatches: tuple[str, ...]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: str = ""
    partitions: int | None = None
    cleanup: Literal["delete", "compact"] | None = None
    retention_days: int | None = None
    max_message_bytes: int | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    defaults: _Entry
    topics: dict[str, _Entry]


def declared(prefix: str) -> tuple[TopicSpec, ...]:
    """Every topic of `infra/kafka/topics.yaml`, in its order. Raises `ValueError` for a prefix Kafka would refuse."""
    topics = Topics(prefix)
    file = msgspec.yaml.decode(infra_path("kafka/topics.yaml").read_bytes(), type=_File)
    return tuple(_spec(f"{topics.prefix}.{suffix}", entry, file.defaults) for suffix, entry in file.topics.items())


def _spec(name: str, entry: _Entry, defaults: _Entry) -> TopicSpec:
    merged = {
        field: value if (value := getattr(entry, field)) is not None else getattr(defaults, field)
        for field in ("partitions", "cleanup", "retention_days", "max_message_bytes")
    }
    return TopicSpec(
        name=name,
        partitions=merged["partitions"],
        cleanup=merged["cleanup"],
        retention_ms=merged["retention_days"] * DAY_MS,
        max_message_bytes=merged["max_message_bytes"],
    )


async def ensure_topics(
    bootstrap: str,
    prefix: str = "vaultak",
    security: Mapping[str, str] | None = None,
    *,
    replication: int | None = None,
    timeout_s: float = 30.0,
) -> TopicReport:
    """Create the declared topics that are missing; compare those that exist.

    Waits for a broker that is still coming up. `security`: as in `Settings.kafka_security`. `replication` None: three,
    or the number of brokers where there are fewer. Idempotent; safe to run from several processes at once. Raises
    `StartTimeoutError` when the broker does not answer within `timeout_s`, `DevstackError` when it refuses.
    """
    specs = declared(prefix)
    client = _client(bootstrap, security)
    deadline = time.monotonic() + timeout_s
    while True:
        admin = AIOKafkaAdminClient(request_timeout_ms=10_000, **client)
        try:
            await admin.start()
            return await _ensure(admin, specs, replication, deadline)
        except (KafkaError, OSError, TimeoutError) as e:
            if isinstance(e, KafkaError) and not e.retriable and not _may_pass(e):
                raise DevstackError(f"the broker at {bootstrap} refused to make topics: {e}") from None
            if time.monotonic() >= deadline:
                raise StartTimeoutError(
                    f"no broker answered at {bootstrap} within {timeout_s:.0f} s ({type(e).__name__}); start one with"
                    " `vaultak up`, or set VAULTAK_BOOTSTRAP_SERVERS"
                ) from None
            await asyncio.sleep(_RETRY_S)
        finally:
            await admin.close()


async def _ensure(
    admin: AIOKafkaAdminClient, specs: tuple[TopicSpec, ...], replication: int | None, deadline: float
) -> TopicReport:
    present = set(await admin.list_topics())
    missing = [spec for spec in specs if spec.name not in present]
    created = await _create(admin, missing, replication) if missing else ()
    await _until_listed(admin, {spec.name for spec in specs}, deadline)
    existing = tuple(spec for spec in specs if spec.name not in created)
    return TopicReport(
        created=created,
        existing=tuple(spec.name for spec in existing),
        mismatches=tuple([line async for line in _mismatches(admin, existing)]),
    )


async def _until_listed(admin: AIOKafkaAdminClient, names: set[str], deadline: float) -> None:
    """A broker acknowledges a topic a moment before its metadata shows it."""
    while not names <= set(await admin.list_topics()):
        if time.monotonic() >= deadline:
            raise TimeoutError("new topics did not appear")
        await asyncio.sleep(_RETRY_S / 5)


async def _create(admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec], replication: int | None) -> tuple[str, ...]:
    factor = replication or min(MAX_REPLICATION, len((await admin.describe_cluster())["brokers"]))
    response = await admin.create_topics(
        [NewTopic(spec.name, spec.partitions, factor, topic_configs=spec.configs(factor)) for spec in specs]
    )
    created = []
    for name, code, *detail in response.topic_errors:
        if code == 0:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:  # another process was faster: as good
            error = for_code(code)
            raise error(f"topic `{name}`: {detail[0] if detail and detail[0] else error.description}")
    return tuple(created)


async def _mismatches(admin: AIOKafkaAdminClient, specs: tuple[TopicSpec, ...]) -> Any:
    if not specs:
        return
    described = {t["topic"]: t for t in await admin.describe_topics([spec.name for spec in specs])}
    configs = await _configs(admin, specs)
    for spec in specs:
        partitions = len(described.get(spec.name, {}).get("partitions", ()))
        if partitions and partitions != spec.partitions:
            yield f"topic `{spec.name}` has {partitions} partitions, not the {spec.partitions} declared"
        cleanup = configs.get(spec.name, {}).get("cleanup.policy")
        if cleanup and set(cleanup.split(",")) != {spec.cleanup}:
            yield f"topic `{spec.name}` has cleanup.policy `{cleanup}`, not the `{spec.cleanup}` declared"


async def _configs(admin: AIOKafkaAdminClient, specs: tuple[TopicSpec, ...]) -> dict[str, dict[str, str]]:
    """The topics' settings; without those that the broker does not tell."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, spec.name) for spec in specs]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for error_code, _message, _type, name, entries in response.resources:
            if error_code == 0:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _client(bootstrap: str, security: Mapping[str, str] | None) -> dict[str, Any]:
    nowhere = Path()
    return client_kwargs(
        Settings(
            bootstrap_servers=bootstrap,
            topics=Topics(),
            data_dir=nowhere,
            spool_dir=nowhere,
            kafka_security=dict(security or {}),
        )
    )


def _may_pass(error: KafkaError) -> bool:
    """Errors that a broker gives while it comes up, though aiokafka does not call them retriable."""
    return type(error).__name__ in {"InvalidReplicationFactorError", "KafkaConnectionError", "NodeNotReadyError"}
