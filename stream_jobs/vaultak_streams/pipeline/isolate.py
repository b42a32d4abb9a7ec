"""When an engine fails on a batch: find the event that did it, judge the others as if it had never come."""

from __future__ import annotations

from collections.abc import Sequence

from vaultak.wire import Event
from vaultak_streams.pipeline.engine import Assessment, Engine, P
from vaultak_streams.pipeline.shard import Shard

Timed = tuple[Event, int]


def judge_one_by_one(
    engine: Engine[P], events: Sequence[Timed], shard: Shard[P]
) -> tuple[list[Assessment | None], dict[int, str]]:
    """Assessments of `events`, and what went wrong with those that have none, by their place.

    The profiles may have learnt from any part of the batch when the engine failed, so they are put back to where
    their journals begin and led forward again. An event that fails leaves its agent's profile as it was before.
    """
    for agent_id in {event.agent_id for event, _ in events}:
        for earlier in shard.restore(agent_id):
            engine.judge([earlier], shard.profiles)
    assessments: list[Assessment | None] = []
    failures: dict[int, str] = {}
    for index, timed in enumerate(events):
        agent_id = timed[0].agent_id
        before = shard.save(agent_id)
        try:
            assessments.extend(engine.judge([timed], shard.profiles))
        except Exception as e:  # noqa: BLE001 - the reason goes into the dead letter
            shard.put_back(agent_id, before)
            assessments.append(None)
            failures[index] = f"{type(e).__name__}: {e}"
    return assessments, failures
