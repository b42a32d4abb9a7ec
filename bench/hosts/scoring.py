"""What all hosts have in common: records in, verdicts as bytes out, by the pipeline that the worker runs."""

from __future__ import annotations

from collections.abc import Sequence

from vaultak.policy import PolicySettings
from vaultak.wire import encode
from vaultak_models.profile import AgentProfile
from vaultak_streams.judging import load_profile, make_pipeline
from vaultak_streams.pipeline.shard import Shard
from vaultak_streams.records import Record


class Scoring:
    """The step of one process, with the profiles of the partitions that it was given."""

    def __init__(self) -> None:
        self._pipeline = make_pipeline(PolicySettings())
        self._shards: dict[int, Shard[AgentProfile]] = {}

    def __call__(self, records: Sequence[Record]) -> list[tuple[bytes, bytes]]:
        """Key and value of the verdicts on records of one partition."""
        partition = records[0].partition
        shard = self._shards.get(partition)
        if shard is None:
            shard = self._shards[partition] = Shard(partition, load_profile)
        result = self._pipeline.process(records, shard, records[-1].ts_ms * 1000)
        return [(verdict.agent_id.encode(), encode(verdict)) for verdict in result.verdicts]
