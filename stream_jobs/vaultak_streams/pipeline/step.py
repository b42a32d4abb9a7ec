"""One step: records of one partition in, verdicts, commands, states, incidents and dead letters out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple

import msgspec

from vaultak.policy import PolicySettings
from vaultak.policy.rules import CompiledRules, Occasion
from vaultak.wire import (
    SEVERITY,
    Action,
    Command,
    DeadLetter,
    Decision,
    DecodeError,
    Event,
    Incident,
    IncidentStatus,
    PeerSighting,
    Reason,
    StateRecord,
    Verdict,
    decode_event,
)
from vaultak_streams.pipeline import incidents
from vaultak_streams.pipeline.dead_letters import dead_letter
from vaultak_streams.pipeline.decide import Rules, Ruling
from vaultak_streams.pipeline.engine import Assessment, Engine, P
from vaultak_streams.pipeline.impostors import Impostors
from vaultak_streams.pipeline.isolate import judge_one_by_one
from vaultak_streams.pipeline.ledger import DIGEST_BYTES, Ledger
from vaultak_streams.pipeline.moments import moment
from vaultak_streams.pipeline.sessions import session_of
from vaultak_streams.pipeline.shard import Shard
from vaultak_streams.records import Record
from vaultak_streams.respond import Case, Order, respond

ISSUER = "vaultak"
"""`issued_by` of commands that follow from a verdict."""


class StepResult(msgspec.Struct):
    """What a step leads to, each list in the order of the records. Commands are not signed yet."""

    verdicts: list[Verdict] = []
    commands: list[Command] = []
    states: list[StateRecord] = []
    incidents: list[Incident] = []
    dead_letters: list[DeadLetter] = []
    sightings: list[PeerSighting] = []
    """What is new for agents with a role, for the workers that judge others of it; not signed yet."""
    counters: Counter[str] = msgspec.field(default_factory=Counter)
    """`records`, `actions`, `verdicts`, `duplicates`, `redelivered`, `dead_letters.<reason>`, `decisions.<decision>`,
    `commands.<command>`, `commands.suppressed`, `agents.forgotten`, `rates.forgotten` (see `Tally.forgotten`)."""


class _Item(NamedTuple):
    record: Record
    event: Event
    ts_us: int
    ledger: Ledger
    digest: str


class Pipeline(Generic[P]):
    """Judges records with an engine and a policy. Holds no state of its own: that is in the shards.

    For one order of records per partition the results are the same however the records are cut into calls, and
    equal byte for byte on every machine, `scored_ts` aside. Never raises on what a record contains.
    """

    def __init__(
        self,
        engine: Engine[P],
        policy: PolicySettings | Rules,
        take_news: Callable[[], list[PeerSighting]] = list,
    ) -> None:
        """`take_news`: what judging has found out since it was last asked, that other workers should know."""
        self._engine = engine
        self._take_news = take_news
        self._impostors = Impostors()
        self._rules = policy if isinstance(policy, Rules) else Rules(policy)

    @property
    def policy_version(self) -> str:
        return self._rules.version

    def adopt(self, choose: Callable[[Mapping[str, str]], CompiledRules | None]) -> None:
        """Judge by these rules from the next record on: for an agent with such labels, or for all others (`{}`)."""
        self._rules = self._rules.choosing(choose)

    def use(self, engine: Engine[P]) -> None:
        """Judge with this engine from the next call of `process` on."""
        self._engine = engine

    @property
    def model_version(self) -> str:
        return self._engine.version

    def process(self, records: Sequence[Record], shard: Shard[P], now_us: int | None) -> StepResult:
        """Judge records of `shard`'s partition, in order.

        `now_us` is the time of judging, in microseconds since the epoch; with `None` (a recording) each event's own
        time stands for it. Records that the shard has seen already are skipped.
        """
        result = StepResult()
        forgotten = shard.forgotten
        items = [item for record in records if (item := self._admit(record, shard, now_us, result))]
        for item, assessment in zip(items, self._judge(items, shard, now_us, result), strict=True):
            if assessment is not None and isinstance(item.event, Action):
                self._conclude(item, item.event, assessment, now_us, result)
        result.sightings = self._take_news()
        result.dead_letters.sort(key=lambda letter: letter.offset)
        result.counters["records"] += len(records)
        if shard.forgotten > forgotten:
            result.counters["agents.forgotten"] += shard.forgotten - forgotten
        return result

    def _admit(self, record: Record, shard: Shard[P], now_us: int | None, result: StepResult) -> _Item | None:
        """The record's event, unless it cannot be used or has been seen."""
        if record.objection:
            _refuse(record, Reason.UNAUTHENTICATED, record.objection, now_us, result)
            if (told := self._impostors.told(record, now_us)) is not None:
                result.incidents.append(told)
            return None
        try:
            event, ts_us = decode_event(record.value, now_us=now_us)
        except DecodeError as e:
            _refuse(record, e.reason, e.detail, now_us, result)
            return None
        if record.key is not None and record.key != event.agent_id.encode():
            detail = f"the key is {record.key[:80]!r}, the event is of agent `{event.agent_id[:80]}`"
            _refuse(record, Reason.KEY_MISMATCH, detail, now_us, result)
            return None
        ledger = shard.ledger(event.agent_id)
        if record.offset <= ledger.applied_offset:
            result.counters["redelivered"] += 1
            return None
        ledger.applied_offset = record.offset
        shard.touch(event.agent_id)
        digest = hashlib.blake2b(record.value or b"", digest_size=DIGEST_BYTES)
        if not ledger.first_sight(digest.digest()):
            result.counters["duplicates"] += 1
            return None
        return _Item(record, event, ts_us, ledger, digest.hexdigest())

    def _judge(
        self, items: list[_Item], shard: Shard[P], now_us: int | None, result: StepResult
    ) -> Sequence[Assessment | None]:
        events = [(item.event, item.ts_us) for item in items]
        shard.begin({item.event.agent_id for item in items})
        failures: dict[int, str] = {}
        assessments: Sequence[Assessment | None]
        try:
            assessments = self._engine.judge(events, shard.profiles)
        except Exception:  # noqa: BLE001 - whatever one event does to the engine, the others are judged
            assessments, failures = judge_one_by_one(self._engine, events, shard)
        for index, detail in failures.items():
            _refuse(items[index].record, Reason.UNJUDGED, detail, now_us, result)
        shard.learnt(event for index, event in enumerate(events) if index not in failures)
        return assessments

    def _conclude(
        self, item: _Item, action: Action, assessment: Assessment, now_us: int | None, result: StepResult
    ) -> None:
        """Decide on an assessed action, and respond."""
        ledger = item.ledger
        rate = ledger.count_action(item.ts_us)
        session = session_of(ledger.sessions, action.session_id)
        occasion = Occasion(item.ts_us / 1_000_000, ledger.tally, at_us=item.ts_us)
        forgotten = ledger.tally.forgotten
        try:
            ruling = self._rules.decide(action, assessment, rate, session, occasion)
        except Exception as e:  # noqa: BLE001 - whatever an action does to a rule, the next one is decided
            _refuse(item.record, Reason.UNJUDGED, f"{type(e).__name__}: {e}", now_us, result)
            return
        if ledger.tally.forgotten > forgotten:
            result.counters["rates.forgotten"] += ledger.tally.forgotten - forgotten
        scored_us = item.ts_us if now_us is None else now_us
        verdict = Verdict(
            action_id=action.action_id,
            agent_id=action.agent_id,
            session_id=action.session_id,
            ts=action.ts,
            scored_ts=action.ts if now_us is None else moment(scored_us),
            risk=assessment.risk,
            factors=assessment.factors,
            explanation=assessment.explanation,
            decision=ruling.decision,
            rules=ruling.rules,
            reasons=ruling.reasons,
            policy_version=ruling.policy_version,
            model_version=assessment.model_version,
            baseline_events=assessment.baseline_events,
        )
        result.verdicts.append(verdict)
        result.counters["actions"] += 1
        result.counters[f"decisions.{verdict.decision}"] += 1
        if verdict.decision is not Decision.ALLOW:
            self._act(item, verdict, ruling, scored_us, result)

    def _act(self, item: _Item, verdict: Verdict, ruling: Ruling, now_us: int, result: StepResult) -> None:
        """Open or extend the incident, and give the orders that the decision calls for."""
        ledger = item.ledger
        incident = incidents.find(ledger.incidents, verdict.session_id)
        opened = incident is None and SEVERITY[verdict.decision] >= incidents.STOPPING
        if opened:
            title = f"{verdict.decision}: {item.event.action_type} {item.event.resource}"  # type: ignore[union-attr]
            incident = incidents.open_incident(ledger.incidents, verdict, title[:200], item.ts_us, item.digest)
        case = Case(
            verdict=verdict,
            reason="; ".join(ruling.reasons)[:500],
            incident_id=incident.incident_id if incident else "",
            issued_by=ISSUER,
            event_us=item.ts_us,
            now_us=now_us,
            identity=item.digest,
        )
        orders, suppressed = ([], 0) if ruling.held else respond(case, ledger)
        if suppressed:
            result.counters["commands.suppressed"] += suppressed
        _give(orders, result)
        if incident is None:
            return
        changed = incidents.add(incident, verdict, [order.command for order in orders])
        if opened or changed:
            status = IncidentStatus.OPENED if opened else IncidentStatus.UPDATED
            result.incidents.append(incidents.message(incident, verdict.agent_id, status, moment(now_us)))


def _give(orders: list[Order], result: StepResult) -> None:
    for order in orders:
        result.commands.append(order.command)
        result.counters[f"commands.{order.command.command}"] += 1
        if order.state is not None:
            result.states.append(
                StateRecord(
                    agent_id=order.command.agent_id,
                    state=order.state,
                    epoch=order.command.epoch,
                    ts=order.command.ts,
                    command=order.command,
                )
            )


def _refuse(record: Record, reason: Reason, detail: str, now_us: int | None, result: StepResult) -> None:
    ts = moment(record.ts_ms * 1000 if now_us is None else now_us)
    result.dead_letters.append(dead_letter(record, reason, detail, ts))
    result.counters[f"dead_letters.{reason}"] += 1
