"""One filled-in message of each kind."""

from __future__ import annotations

from vaultak import wire

_COMMON = {"schema_version": 1, "agent_id": "billing-bot", "session_id": "s-1", "ts": "2026-03-02T08:08:42.539518Z"}
_HASH = "0f" * 32

_COMMAND = wire.Command(
    command_id="0190b0a4-6c3b-7cc0-8f00-0123456789ab",
    agent_id="billing-bot",
    command=wire.CommandType.PAUSE,
    ts="2026-03-02T08:08:42.739518Z",
    expires_at="2026-03-02T08:13:42.739518Z",
    issued_by="worker/1",
    epoch=7,
    action_id="a-1",
    incident_id="i-1",
    reason="risk 0.91",
    signature="ab" * 64,
    key_id="0123456789abcdef",
)

EXAMPLES = {
    "action": wire.Action(
        **_COMMON,
        instance="host-1-42",
        seq=3,
        prev_hash=_HASH,
        hash=_HASH,
        action_id="a-1",
        action_type=wire.ActionType.DATABASE_WRITE,
        resource="db://pg/crm/users",
        payload={"sql": "delete from users", "rows": 10, "naïve": [1.5, None, {"x": True}]},
        payload_bytes=81,
        payload_sha256=_HASH,
        parent_action_id="a-0",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        span_id="00f067aa0ba902b7",
        labels={"role": "billing"},
        local=wire.Local(decision="allow", risk=0.2, reasons=("risk 0.20",), policy_version="p-1"),
        assurance="hook",
    ),
    "outcome": wire.Outcome(
        **_COMMON, action_id="a-1", status=wire.OutcomeStatus.ERROR, duration_ms=3.5, content="", error="timeout"
    ),
    "context": wire.Context(**_COMMON, source=wire.ContextSource.USER, content="refund order 7"),
    "verdict": wire.Verdict(
        action_id="a-1",
        agent_id="billing-bot",
        session_id="s-1",
        ts=_COMMON["ts"],
        scored_ts=_COMMON["ts"],
        risk=0.91,
        factors=wire.Factors(destructiveness=0.9, sensitivity=0.6, behaviour=0.97),
        explanation=(wire.Contribution("resource novelty", "db://pg/crm/users", "db://pg/crm/orders", 0.6),),
        decision=wire.Decision.PAUSE,
        rules=("max_risk_score",),
        reasons=("risk 0.91 is over 0.70",),
        policy_version="p-1",
        model_version="m-1",
        baseline_events=412,
    ),
    "command": _COMMAND,
    "agent-state": wire.StateRecord(
        agent_id="billing-bot", state=wire.AgentState.PAUSED, epoch=7, ts=_COMMAND.ts, command=_COMMAND
    ),
    "ack": wire.Ack(
        command_id=_COMMAND.command_id,
        agent_id="billing-bot",
        instance="host-1-42",
        ts=_COMMAND.ts,
        result=wire.AckResult.APPLIED,
        detail="paused",
    ),
    "incident": wire.Incident(
        incident_id="i-1",
        agent_id="billing-bot",
        session_id="s-1",
        ts=_COMMON["ts"],
        status=wire.IncidentStatus.OPENED,
        severity="pause",
        risk=0.91,
        title="billing-bot: database_write on db://pg/crm/users",
        action_ids=("a-1",),
        command_ids=(_COMMAND.command_id,),
    ),
    "policy": wire.PolicyRecord(
        policy_id="0199d3c4-7f00-7000-8000-000000000009",
        epoch=1_772_438_922_539_518,
        ts="2026-03-02T08:08:42.539518Z",
        issued_by="ada",
        version="r-0123456789ab",
        bundle=b"\x1f\x8b",
        canary={"ring": "0"},
        signature="ab" * 64,
        key_id="0123456789abcdef",
    ),
    "model-promotion": wire.ModelPromotion(
        promotion_id="0199d3c4-7f00-7000-8000-00000000000a",
        epoch=1_772_438_922_539_518,
        ts="2026-03-02T08:08:42.539518Z",
        issued_by="ada",
        version="1-0123456789ab",
        files={"model.npz": b"PK", "manifest.json": b"{}", "record.json": b"{}"},
        signature="ab" * 64,
        key_id="0123456789abcdef",
    ),
    "peer-sighting": wire.PeerSighting(
        role="biller",
        thing="place db://pg/crm",
        agent_id="billing-bot",
        ts_us=1_772_438_922_539_518,
        signature="ab" * 64,
        key_id="0123456789abcdef",
    ),
    "dead-letter": wire.DeadLetter(
        reason="invalid",
        detail="missing required field `agent_id`",
        topic="vaultak.actions",
        partition=3,
        offset=99,
        ts=_COMMON["ts"],
        key_base64="YQ==",
        value_base64="e30=",
        value_bytes=2,
        value_sha256=_HASH,
    ),
    "anchor": wire.Anchor(
        ts=_COMMON["ts"],
        number=3,
        prev_hash=_HASH,
        heads=(wire.Head("billing-bot", "host-1", 17, _HASH),),
        signature="ab" * 64,
        key_id="0123456789abcdef",
    ),
}
