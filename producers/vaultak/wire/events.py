"""What agents are about to do, what came of it, and what they were asked: topic `vaultak.actions`."""

from __future__ import annotations

import enum
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

SCHEMA_VERSION = 1

AgentId = Annotated[str, Meta(min_length=1, max_length=256)]
Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
Timestamp = Annotated[str, Meta(min_length=20, max_length=40, description="RFC 3339, UTC, microseconds")]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256, hex")]
Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Version = Annotated[int, Meta(ge=1, le=1)]
Sequence = Annotated[int, Meta(ge=0)]


class ActionType(enum.StrEnum):
    """The kinds of action. A producer that finds none fitting uses `custom`."""

    FILE_READ = "file_read"
    FILE_WRITE = "file_write"
    FILE_DELETE = "file_delete"
    API_CALL = "api_call"
    NETWORK_REQUEST = "network_request"
    DATABASE_QUERY = "database_query"
    DATABASE_WRITE = "database_write"
    CODE_EXECUTION = "code_execution"
    PROCESS_SPAWN = "process_spawn"
    PERMISSION_CHANGE = "permission_change"
    TOOL_CALL = "tool_call"
    MESSAGE_SEND = "message_send"
    CUSTOM = "custom"


class OutcomeStatus(enum.StrEnum):
    OK = "ok"
    ERROR = "error"
    DENIED = "denied"
    PAUSED = "paused"
    REVERSED = "reversed"


class ContextSource(enum.StrEnum):
    USER = "user"
    SYSTEM = "system"


class Local(Struct, frozen=True, omit_defaults=True, gc=False):
    """What the SDK decided on its own before the action ran."""

    decision: str
    risk: Unit = 0.0
    reasons: tuple[str, ...] = ()
    policy_version: str = ""


class _Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """What every event carries. `seq`, `prev_hash` and `hash` form a chain per agent instance."""

    schema_version: Version
    agent_id: AgentId
    session_id: Identifier
    ts: Timestamp
    instance: str = ""
    seq: Sequence | UnsetType = UNSET
    prev_hash: Digest | UnsetType = UNSET
    hash: Digest | UnsetType = UNSET


class Action(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="action"):
    """An action, before it runs."""

    action_id: Identifier
    action_type: ActionType
    resource: Annotated[str, Meta(max_length=8192)]
    payload: dict[str, Any]
    payload_truncated: bool = False
    payload_bytes: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    payload_sha256: Digest | UnsetType = UNSET
    parent_action_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    labels: dict[str, str] = {}
    local: Local | UnsetType = UNSET
    assurance: str = ""
    """Which layer saw it: `hook`, `patch`, `floor`, or empty for an explicit call."""


class Outcome(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="outcome"):
    """What came of an action. `content` is what it returned: untrusted text."""

    action_id: Identifier
    status: OutcomeStatus
    duration_ms: Annotated[float, Meta(ge=0.0)] | UnsetType = UNSET
    content: str = ""
    content_truncated: bool = False
    error: str = ""


class Context(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="context"):
    """What the agent was asked: trusted text."""

    source: ContextSource
    content: str


Event = Action | Outcome | Context
