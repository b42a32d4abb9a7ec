"""Closing a case by hand: a message on the incidents topic for each of its incidents, in the operator's name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from vaultak.config import Settings
from vaultak.kafka_clients import client_kwargs, end_client
from vaultak.wire import Incident, IncidentStatus, ce_headers, encode, format_ts, uuid7
from vaultak_streams.operate import BrokerUnavailableError

MAX_NOTE_CHARS = 500


def closed(row: Mapping[str, Any], by: str, note: str, ts: str) -> Incident:
    """An incident of the `incidents` view as it is once somebody closed it. What it told stays."""
    return Incident(
        incident_id=row["incident_id"],
        agent_id=row["agent_id"],
        session_id=row["session_id"],
        ts=ts,
        status=IncidentStatus.CLOSED,
        severity=row["severity"],
        risk=row["risk"],
        title=row["title"],
        action_ids=tuple(row["action_ids"]),
        command_ids=tuple(row["command_ids"]),
        closed_by=by,
        note=note[:MAX_NOTE_CHARS],
    )


async def close(settings: Settings, rows: Iterable[Mapping[str, Any]], by: str, note: str) -> list[Incident]:
    """Close these incidents; whatever belongs to one and comes later opens it again.

    They go to the partition of their agent, so a close never overtakes what was told before it. Raises
    `BrokerUnavailableError` when the broker did not take them all.
    """
    ts = format_ts(time.time())
    incidents = [closed(row, by, note, ts) for row in rows]
    producer = AIOKafkaProducer(**client_kwargs(settings), acks="all", linger_ms=0)
    try:
        await producer.start()
        for incident in incidents:
            headers = ce_headers("incident", uuid7(), f"/operators/{by}", ts)
            key = incident.agent_id.encode()
            await producer.send_and_wait(settings.topics.incidents, encode(incident), key=key, headers=headers)
    except (KafkaError, OSError) as e:
        raise BrokerUnavailableError(f"no broker answers at `{settings.bootstrap_servers}`: {e}") from None
    finally:
        await end_client(producer)
    return incidents
