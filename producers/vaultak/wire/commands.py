"""Commands to agents, the state they leave behind, and what agents did with them.

Topics `vaultak.control` (the log of commands), `vaultak.agent-state` (the last state command of each agent) and
`vaultak.acks`.
"""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import Meta, Struct

from vaultak.wire.events import AgentId, Identifier, Timestamp

EVERY_AGENT = "*"


class CommandType(enum.StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    KILL = "kill"
    ROLLBACK = "rollback"
    APPROVE = "approve"
    DENY = "deny"
    SET_POLICY = "set_policy"


class AgentState(enum.StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    KILLED = "killed"


class AckResult(enum.StrEnum):
    APPLIED = "applied"
    IGNORED = "ignored"
    REJECTED = "rejected"
    FAILED = "failed"


class Command(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order to one agent, or to all (`*`). Obeyed only when its signature, expiry and epoch hold."""

    command_id: Identifier
    agent_id: AgentId
    command: CommandType
    ts: Timestamp
    expires_at: Timestamp
    issued_by: str
    epoch: Annotated[int, Meta(ge=0)] = 0
    """Rises with each state command (pause, resume, kill) of an agent: an older one never wins."""
    action_id: str = ""
    incident_id: str = ""
    reason: str = ""
    scope: str = ""
    """Of an `approve`: `session` or `pattern` where it holds for more than the one action."""
    grant_until: str = ""
    """Until when it does; empty: an hour."""
    signature: str = ""
    key_id: str = ""


class StateRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The value of `vaultak.agent-state`: where an agent stands, with the signed command that put it there."""

    agent_id: AgentId
    state: AgentState
    epoch: int
    ts: Timestamp
    command: Command


class Ack(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one instance of an agent did with a command, and when."""

    command_id: Identifier
    agent_id: AgentId
    instance: str
    ts: Timestamp
    result: AckResult
    detail: str = ""
