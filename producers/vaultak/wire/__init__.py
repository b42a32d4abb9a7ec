"""The wire contract: every message that passes between the parts, as frozen structs.

This package is the single place where a message is defined. JSON Schemas (`infra/schemas`) are generated
from these structs, `infra/asyncapi.yaml` refers to the schemas, and tests hold the three together.
It depends on msgspec alone, so that anything may import it.
"""

from vaultak.wire.anchors import Anchor, Head
from vaultak.wire.canonical import GENESIS_HASH, canonical_json, chain_hash
from vaultak.wire.codec import (
    DecodeError,
    Reason,
    decode_ack,
    decode_command,
    decode_dead_letter,
    decode_event,
    decode_peer_sighting,
    decode_policy,
    decode_promotion,
    decode_state,
    decode_verdict,
    encode,
)
from vaultak.wire.commands import Ack, AckResult, AgentState, Command, CommandType, StateRecord
from vaultak.wire.dead_letters import DeadLetter
from vaultak.wire.events import (
    SCHEMA_VERSION,
    Action,
    ActionType,
    Context,
    ContextSource,
    Event,
    Local,
    Outcome,
    OutcomeStatus,
)
from vaultak.wire.headers import CONTENT_TYPE_JSON, ce_headers
from vaultak.wire.ids import derived_uuid7, uuid7
from vaultak.wire.incidents import Incident, IncidentStatus
from vaultak.wire.models import ModelPromotion
from vaultak.wire.peers import PeerSighting
from vaultak.wire.policies import PolicyRecord
from vaultak.wire.timestamps import format_ts, parse_ts, parse_ts_us
from vaultak.wire.topics import Topics
from vaultak.wire.verdicts import SEVERITY, Contribution, Decision, Factors, Verdict

__all__ = [
    "CONTENT_TYPE_JSON",
    "GENESIS_HASH",
    "SCHEMA_VERSION",
    "SEVERITY",
    "Ack",
    "AckResult",
    "Action",
    "ActionType",
    "AgentState",
    "Anchor",
    "Command",
    "CommandType",
    "Context",
    "ContextSource",
    "Contribution",
    "DeadLetter",
    "Decision",
    "DecodeError",
    "Event",
    "Factors",
    "Head",
    "Incident",
    "IncidentStatus",
    "Local",
    "ModelPromotion",
    "Outcome",
    "OutcomeStatus",
    "PeerSighting",
    "PolicyRecord",
    "Reason",
    "StateRecord",
    "Topics",
    "Verdict",
    "canonical_json",
    "ce_headers",
    "chain_hash",
    "decode_ack",
    "decode_command",
    "decode_dead_letter",
    "decode_event",
    "decode_peer_sighting",
    "decode_policy",
    "decode_promotion",
    "decode_state",
    "decode_verdict",
    "derived_uuid7",
    "encode",
    "format_ts",
    "parse_ts",
    "parse_ts_us",
    "uuid7",
]
