"""A loop of aiokafka's: batches as they are fetched, offsets committed after the brokers have the verdicts."""

from __future__ import annotations

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.hosts.scoring import Scoring
from vaultak.wire import Topics
from vaultak_streams.records import Record


async def main(servers: str, prefix: str) -> None:
    topics, score = Topics(prefix), Scoring()
    consumer = AIOKafkaConsumer(
        topics.actions,
        bootstrap_servers=servers,
        group_id=f"{prefix}-plain",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=5)
    await consumer.start()
    await producer.start()
    while True:
        deliveries = []
        for found in (await consumer.getmany(timeout_ms=200, max_records=1000)).values():
            records = [Record(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp) for r in found]
            for key, value in score(records):
                deliveries.append(await producer.send(topics.verdicts, value, key=key))
        if deliveries:
            await asyncio.gather(*deliveries)
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
