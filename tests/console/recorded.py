"""A recorded hour of a small fleet, as the messages on the topics: five agents work, one goes wrong and is stopped."""

from __future__ import annotations

import datetime as dt
import random

from vaultak import wire
from vaultak_streams.records import Record
from vaultak_streams.sink.batches import Batch
from vaultak_streams.sink.rows import routes
from vaultak_streams.store.client import Store

HOSTILE = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>"
HOSTILE_AGENT = f"evil/../{HOSTILE}"
ROGUE = "billing-bot"
ROGUE_SESSION = "month-end-close"
INCIDENT = "0190b0a4-0000-7000-8000-00000000beef"
HELD = "support-agent-held"

_WORK: dict[str, tuple[tuple[wire.ActionType, str], ...]] = {
    "billing-bot": (
        (wire.ActionType.DATABASE_QUERY, "db://pg/billing/invoices"),
        (wire.ActionType.FILE_WRITE, "/srv/exports/invoices-2026-11.csv"),
        (wire.ActionType.API_CALL, "https://api.stripe.com/v1/charges"),
    ),
    "support-agent": (
        (wire.ActionType.TOOL_CALL, "tool:lookup_customer"),
        (wire.ActionType.MESSAGE_SEND, "https://api.intercom.io/messages"),
        (wire.ActionType.DATABASE_QUERY, "db://pg/crm/customers"),
    ),
    "research-crawler": (
        (wire.ActionType.NETWORK_REQUEST, "https://arxiv.org/list/cs.CR/recent"),
        (wire.ActionType.FILE_WRITE, "/srv/research/notes.md"),
        (wire.ActionType.TOOL_CALL, "tool:summarise"),
    ),
    "deploy-agent": (
        (wire.ActionType.PROCESS_SPAWN, "process:/usr/bin/git"),
        (wire.ActionType.FILE_READ, "/srv/deploy/manifest.yaml"),
        (wire.ActionType.API_CALL, "https://kubernetes.internal:6443/apis/apps/v1"),
    ),
    "code-reviewer": (
        (wire.ActionType.FILE_READ, "/srv/repo/src/ledger.py"),
        (wire.ActionType.CODE_EXECUTION, "code:tests/test_ledger.py"),
        (wire.ActionType.TOOL_CALL, "tool:post_review"),
    ),
}


class Recording:
    """Collects messages with the topic of each."""

    def __init__(self, now: dt.datetime) -> None:
        self.now = now
        self.topics = wire.Topics("vaultak")
        self.records: list[Record] = []

    def ts(self, minutes_ago: float) -> str:
        return wire.format_ts((self.now - dt.timedelta(minutes=minutes_ago)).timestamp())

    def add(self, topic: str, message: object, agent_id: str) -> None:
        self.records.append(Record(topic, 0, len(self.records), agent_id.encode(), wire.encode(message), 0))

    def action(
        self, agent: str, session: str, ago: float, kind: wire.ActionType, resource: str, *, action_id: str,
        payload: dict[str, object], risk: float = 0.08, decision: wire.Decision = wire.Decision.ALLOW,
        reasons: tuple[str, ...] = (), explanation: tuple[wire.Contribution, ...] = (), rules: tuple[str, ...] = (),
        outcome: wire.OutcomeStatus | None = wire.OutcomeStatus.OK, content: str = "", seq: int = 0,
    ) -> None:  # fmt: skip
        common = {"schema_version": 1, "agent_id": agent, "session_id": session}
        event = wire.Action(
            **common, instance=f"{agent[:12]}-7f3a", seq=seq, ts=self.ts(ago), action_id=action_id, action_type=kind,
            resource=resource, payload=payload, assurance="hook",
        )  # fmt: skip
        self.add(self.topics.actions, event, agent)
        factors = wire.Factors(
            destructiveness=round(min(1, risk * 1.1), 2), sensitivity=round(risk * 0.8, 2), payload=0.12,
            rate=round(risk * 0.5, 2), behaviour=round(risk, 2),
        )  # fmt: skip
        judged = wire.Verdict(
            action_id=action_id, agent_id=agent, session_id=session, ts=event.ts, scored_ts=self.ts(ago - 0.0004),
            risk=risk, factors=factors, explanation=explanation, decision=decision, rules=rules, reasons=reasons,
            policy_version="p-2f81c0", model_version="m-2026-11-20", baseline_events=4210,
        )  # fmt: skip
        self.add(self.topics.verdicts, judged, agent)
        if outcome:
            done = wire.Outcome(
                **common, ts=self.ts(ago - 0.001), action_id=action_id, status=outcome, duration_ms=12.4,
                content=content,
            )  # fmt: skip
            self.add(self.topics.actions, done, agent)

    def command(
        self, agent: str, command: wire.CommandType, ago: float, *, command_id: str, reason: str, incident: str = "",
        by: str = "vaultak", state: wire.AgentState | None = None, detail: str = "", action_id: str = "",
    ) -> None:  # fmt: skip
        order = wire.Command(
            command_id=command_id, agent_id=agent, command=command, ts=self.ts(ago), expires_at=self.ts(ago - 5),
            issued_by=by, epoch=int(1e9 - ago * 1e3) if state else 0, incident_id=incident, reason=reason,
            signature="ab" * 64, key_id="0123456789abcdef", action_id=action_id,
        )  # fmt: skip
        self.add(self.topics.control, order, agent)
        if state:
            record = wire.StateRecord(agent_id=agent, state=state, epoch=order.epoch, ts=order.ts, command=order)
            self.add(self.topics.agent_state, record, agent)
        ack = wire.Ack(
            command_id=command_id, agent_id=agent, instance=f"{agent[:12]}-7f3a", ts=self.ts(ago - 0.0007),
            result=wire.AckResult.APPLIED, detail=detail,
        )  # fmt: skip
        self.add(self.topics.acks, ack, agent)


def fleet(now: dt.datetime, seed: int = 7) -> Recording:
    """The recording; `now` is its end."""
    recording, random_ = Recording(now), random.Random(seed)
    for agent, work in _WORK.items():
        for n, ago in enumerate(sorted((random_.uniform(0.2, 59) for _ in range(90)), reverse=True)):
            kind, resource = random_.choice(work)
            risk = round(random_.betavariate(1.4, 12), 3)
            recording.action(
                agent, f"{agent}-morning", ago, kind, resource, action_id=f"{agent}-{n:04}", payload={"n": n},
                risk=risk, seq=n, content="3 rows" if kind is wire.ActionType.DATABASE_QUERY else "",
            )  # fmt: skip
    _goes_wrong(recording)
    _waits(recording)
    _hostile(recording)
    letter = wire.DeadLetter(
        reason="undecodable", detail="JSON is malformed: " + HOSTILE, topic="vaultak.actions", partition=0, offset=17,
        ts=recording.ts(12), key_base64="", value_base64="eyJicm9rZW4", value_bytes=12, value_sha256="0f" * 32,
    )  # fmt: skip
    recording.add(recording.topics.dead_letter, letter, "x")
    return recording


def _goes_wrong(recording: Recording) -> None:
    why = (
        wire.Contribution("surprise_resource", "/srv/finance/ledger-2026.db", "never seen before", 0.46),
        wire.Contribution("rate_1m", "31 a minute", "4 a minute", 0.31),
        wire.Contribution("destructive_rate", "12 deletions", "0", 0.19),
    )
    for n in range(14):
        stopped = n >= 9
        decision = wire.Decision.BLOCK if stopped else wire.Decision.ALERT if n > 4 else wire.Decision.ALLOW
        outcome = wire.OutcomeStatus.REVERSED if n > 3 else wire.OutcomeStatus.OK
        path = f"/srv/finance/ledger-20{13 + n}.db"
        recording.action(
            ROGUE, ROGUE_SESSION, 8 - n * 0.05, wire.ActionType.FILE_DELETE, path, action_id=f"rogue-{n:02}",
            payload={"path": path, "recursive": False}, risk=round(min(0.97, 0.35 + n * 0.06), 2), seq=200 + n,
            decision=wire.Decision.ROLLBACK if n == 9 else decision,
            reasons=("risk 0.89 is above max_risk_score 0.70", "deletes what it never touched") if stopped else (),
            rules=("finance-ledgers-are-append-only",) if stopped else (), explanation=why if n > 4 else (),
            outcome=wire.OutcomeStatus.DENIED if stopped else outcome,
        )  # fmt: skip
    at = 8 - 9 * 0.05
    recording.command(
        ROGUE, wire.CommandType.ROLLBACK, at - 0.0010, command_id="cmd-rollback", incident=INCIDENT,
        reason="risk 0.89 is above max_risk_score 0.70", detail="5 actions reversed, 0 not",
    )  # fmt: skip
    recording.command(
        ROGUE, wire.CommandType.PAUSE, at - 0.0014, command_id="cmd-pause", incident=INCIDENT,
        reason="risk 0.89 is above max_risk_score 0.70", state=wire.AgentState.PAUSED,
    )  # fmt: skip
    incident = wire.Incident(
        incident_id=INCIDENT, agent_id=ROGUE, session_id=ROGUE_SESSION, ts=recording.ts(at - 0.3),
        status=wire.IncidentStatus.UPDATED, severity="rollback", risk=0.97,
        title="rollback: file_delete /srv/finance/ledger-2022.db",
        action_ids=tuple(f"rogue-{n:02}" for n in range(9, 14)), command_ids=("cmd-rollback", "cmd-pause"),
    )  # fmt: skip
    recording.add(recording.topics.incidents, incident, ROGUE)


def _waits(recording: Recording) -> None:
    """An action that is held until somebody approves it."""
    recording.action(
        "support-agent", "refunds", 1.5, wire.ActionType.TOOL_CALL, "tool:refund_order", action_id=HELD,
        payload={"order": "A-10443", "amount_eur": 1890}, risk=0.71, decision=wire.Decision.PAUSE,
        reasons=("refunds above 500 EUR need an approval",), rules=("large-refunds",),
        outcome=None, seq=900,
    )  # fmt: skip
    incident = wire.Incident(
        incident_id="0190b0a4-0000-7000-8000-00000000cafe", agent_id="support-agent", session_id="refunds",
        ts=recording.ts(1.49), status=wire.IncidentStatus.OPENED, severity="pause", risk=0.71,
        title="pause: tool_call tool:refund_order", action_ids=(HELD,),
    )  # fmt: skip
    recording.add(recording.topics.incidents, incident, "support-agent")


def _hostile(recording: Recording) -> None:
    recording.action(
        HOSTILE_AGENT, HOSTILE, 3, wire.ActionType.TOOL_CALL, f"tool:{HOSTILE}", action_id=f"h-{HOSTILE}",
        payload={"html": HOSTILE, "turned": "‮gnp.exe"}, risk=0.8, decision=wire.Decision.BLOCK,
        reasons=(HOSTILE,), content=HOSTILE, outcome=wire.OutcomeStatus.DENIED, rules=(HOSTILE,),
        explanation=(wire.Contribution(HOSTILE, HOSTILE, HOSTILE, 0.5),),
    )  # fmt: skip
    incident = wire.Incident(
        incident_id="0190b0a4-0000-7000-8000-00000000dead", agent_id=HOSTILE_AGENT, session_id=HOSTILE,
        ts=recording.ts(2.9), status=wire.IncidentStatus.OPENED, severity="block", risk=0.8,
        title=f"block: tool_call {HOSTILE}"[:200], action_ids=(f"h-{HOSTILE}",),
    )  # fmt: skip
    recording.add(recording.topics.incidents, incident, HOSTILE_AGENT)


def store_all(store: Store, recording: Recording) -> None:
    """Store it as the sink does; `store` is the writer's."""
    batch = Batch(routes(recording.topics), recording.now)
    batch.add(recording.records)
    assert batch.undecodable == 0
    for block in batch.blocks():
        there = {row[0] for row in store.query(f"DESCRIBE TABLE {block.table}").rows}
        columns = {name: data for name, data in zip(block.names, block.columns(), strict=True) if name in there}
        store.insert(block.table, list(columns), list(columns.values()))
