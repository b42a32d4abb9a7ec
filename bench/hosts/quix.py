"""quixstreams: a record at a time, as its dataframes have it, committed every second."""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, message_context

from bench.hosts.scoring import Scoring
from vaultak.wire import Topics
from vaultak_streams.records import Record


def main(servers: str, prefix: str, directory: str) -> None:
    topics, score = Topics(prefix), Scoring()
    app = Application(
        broker_address=servers,
        consumer_group=f"{prefix}-quix",
        auto_offset_reset="earliest",
        commit_interval=1.0,
        auto_create_topics=False,
        state_dir=directory,
        loglevel="ERROR",
    )
    actions = app.topic(topics.actions, key_deserializer="bytes", value_deserializer="bytes")
    verdicts = app.topic(topics.verdicts, key_serializer="bytes", value_serializer="bytes")

    def judge(value: bytes, key: bytes, timestamp: int, _headers: Any) -> list[bytes]:
        at = message_context()
        record = Record(at.topic, at.partition, at.offset, key, value, timestamp)
        return [verdict for _, verdict in score([record])]

    app.dataframe(actions).apply(judge, expand=True, metadata=True).to_topic(verdicts)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:4])
