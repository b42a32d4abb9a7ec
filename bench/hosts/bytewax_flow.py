"""bytewax: a dataflow from a Kafka source to a Kafka sink, judged in the batches that it hands on."""

from __future__ import annotations

import sys
from itertools import groupby

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from bench.hosts.scoring import Scoring
from vaultak.wire import Topics
from vaultak_streams.records import Record

Source = KafkaSourceMessage[bytes | None, bytes | None]


def main(servers: str, prefix: str) -> None:
    topics, score = Topics(prefix), Scoring()

    def judge(found: list[Source]) -> list[KafkaSinkMessage[bytes, bytes]]:
        judged = []
        for _, batch in groupby(found, key=lambda message: message.partition):
            judged += score([_record(message) for message in batch])
        return [KafkaSinkMessage(key, value) for key, value in judged]

    flow = Dataflow("bench")
    source = kafka.input("actions", flow, brokers=[servers], topics=[topics.actions], batch_size=1000)
    verdicts = op.flat_map_batch("judge", source.oks, judge)
    kafka.output("verdicts", verdicts, brokers=[servers], topic=topics.verdicts)
    run_main(flow)


def _record(message: Source) -> Record:
    _, ms = message.timestamp
    return Record(message.topic, message.partition, message.offset, message.key, message.value, ms)


if __name__ == "__main__":
    main(*sys.argv[1:3])
