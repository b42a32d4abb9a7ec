"""Events of agents as their SDK sends them, stored by the sink's own code."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

from vaultak.emitter import Emitter
from vaultak.redact import Redactor
from vaultak.wire import ActionType, Decision, Factors, Local, OutcomeStatus, Topics, Verdict, encode
from vaultak.wire.ids import uuid7
from vaultak.wire.timestamps import format_ts
from vaultak_streams.audit.anchoring import Seals
from vaultak_streams.records import Record
from vaultak_streams.sink.batches import Batch, Block
from vaultak_streams.sink.rows import routes
from vaultak_streams.store.client import connect

TOPICS = Topics()
AGO_S = 6 * 3600


class Recorder:
    """An agent's events, with the verdicts of a pipeline. Offsets rise over the recorder's life."""

    def __init__(self, topics: Topics = TOPICS) -> None:
        self._topics = topics
        self.records: list[Record] = []
        self._emitters: dict[str, Emitter] = {}
        self.now_s = time.time() - AGO_S

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self.records.append(Record(topic, 0, len(self.records), key, value, int(self.now_s * 1000)))

    def emitter(self, agent_id: str) -> Emitter:
        if agent_id not in self._emitters:
            self._emitters[agent_id] = Emitter(agent_id, self._topics.actions, self, Redactor())
        return self._emitters[agent_id]

    def rename(self, agent_id: str, instance: str) -> None:
        """Go by the name of another instance."""
        emitter = self.emitter(agent_id)
        emitter.instance = instance
        emitter._instance = b',"instance":' + encode(instance)

    def act(
        self,
        agent_id: str,
        resource: str = "/srv/data/a.txt",
        *,
        action_type: ActionType = ActionType.FILE_WRITE,
        payload: dict[str, object] | None = None,
        local: str = "allow",
        outcome: bool = True,
        assurance: str = "",
        verdict: Decision | None = Decision.ALLOW,
    ) -> str:
        """One action, what came of it, what the pipeline said. Returns its id."""
        action_id = uuid7()
        emitter = self.emitter(agent_id)
        self.now_s += 1
        ts = emitter.action(
            action_id, f"s-{agent_id}", self.now_s, action_type, resource, payload or {"mode": "w"}, Local(local),
            labels={}, assurance=assurance,
        )  # fmt: skip
        if outcome:
            emitter.outcome(action_id, f"s-{agent_id}", self.now_s + 0.1, OutcomeStatus.OK, content="fine")
        if verdict is not None:
            self.judge(agent_id, action_id, ts, verdict)
        return action_id

    def judge(self, agent_id: str, action_id: str, ts: str, decision: Decision) -> None:
        verdict = Verdict(
            action_id=action_id, agent_id=agent_id, session_id=f"s-{agent_id}", ts=ts,
            scored_ts=format_ts(self.now_s + 0.2), risk=0.25, factors=Factors(), explanation=(), decision=decision,
            rules=(), reasons=("as usual",), policy_version="p1", model_version="m1", baseline_events=7,
        )  # fmt: skip
        self.emit(self._topics.verdicts, agent_id.encode(), encode(verdict), [])


def store_records(
    dsn: str, records: list[Record], now: dt.datetime | None = None, data_dir: Path | None = None
) -> None:
    """As the sink does, an hour ago."""
    batch = Batch(routes(TOPICS), now or dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
    batch.add(records)
    blocks = batch.blocks()
    if data_dir is not None:
        blocks = list(map(Seals(data_dir).sealed, blocks))
    with connect(dsn) as store:
        for block in blocks:
            store.insert(block.table, block.names, block.columns())


def stored_blocks(records: list[Record], table: str) -> list[Block]:
    """The blocks that the sink makes of these records."""
    batch = Batch(routes(TOPICS), dt.datetime.now(dt.UTC))
    batch.add(records)
    return batch.blocks(table)
