"""What clients send and get: structs, from which the OpenAPI document is made."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from vaultak.wire import AckResult, ActionType, Command, ContextSource, Decision, OutcomeStatus, Verdict

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:+=-]{1,128}$", description="letters, digits and `._:+=-`")]
AgentId = Annotated[str, Meta(min_length=1, max_length=256)]
SessionId = Annotated[str, Meta(min_length=1, max_length=256)]
Timestamp = Annotated[str, Meta(min_length=20, max_length=40, description="RFC 3339 with an offset")]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Meta(max_length=262_144)]
Label = Annotated[str, Meta(max_length=1024)]


class _Sent(Struct, frozen=True, kw_only=True, tag_field="kind"):
    agent_id: AgentId
    schema_version: Annotated[int, Meta(ge=1, le=1)] = 1
    session_id: SessionId = "http"
    ts: Timestamp | None = None
    """When it happened; now, where it is missing. At most a day ahead."""


class ActionSent(_Sent, frozen=True, kw_only=True, tag="action"):
    """An action, before it runs."""

    action_type: ActionType
    resource: Annotated[str, Meta(max_length=8192)]
    payload: dict[str, Any] = {}
    action_id: Id | None = None
    """The client's own, so that a request can be repeated; made here where it is missing."""
    parent_action_id: Annotated[str, Meta(max_length=256)] = ""
    trace_id: Annotated[str, Meta(pattern="^([0-9a-f]{32})?$")] = ""
    span_id: Annotated[str, Meta(pattern="^([0-9a-f]{16})?$")] = ""
    labels: Annotated[dict[Label, Label], Meta(max_length=64)] = {}


class OutcomeSent(_Sent, frozen=True, kw_only=True, tag="outcome"):
    """What came of an action."""

    action_id: Id
    status: OutcomeStatus
    duration_ms: Annotated[float, Meta(ge=0.0, le=1e12)] | None = None
    content: Text = ""
    error: Text = ""


class ContextSent(_Sent, frozen=True, kw_only=True, tag="context"):
    """What the agent was asked: trusted text."""

    source: ContextSource
    content: Text


Sent = ActionSent | OutcomeSent | ContextSent


class Answer(Struct, frozen=True, kw_only=True):
    """What the client has to do about one event. Of an outcome or a context, `decision` is `allow`."""

    action_id: str
    decision: Decision
    """`allow` and `alert`: go on. `pause`: do not yet; ask again. Anything else: do not."""
    risk: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    reasons: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    policy_version: str = ""
    judged_by: str = "gateway"
    """`gateway`: limits, rules and the agent's state; `pipeline`: its behaviour too; `operator`: somebody approved it,
    denied it, or resumed or killed the agent meanwhile."""
    duplicate: bool = False
    """The action id was seen before: this is the answer of then, as it stands now. Nothing was recorded again."""
    verdict: Verdict | UnsetType = UNSET
    """The pipeline's, once it is there."""


class Answers(Struct, frozen=True, kw_only=True):
    """In the order of the events."""

    results: tuple[Answer, ...]


class AckSent(Struct, frozen=True, kw_only=True):
    """What the client did with a command."""

    command_id: Annotated[str, Meta(min_length=1, max_length=256)]
    result: AckResult
    detail: Annotated[str, Meta(max_length=1024)] = ""
    instance: Annotated[str, Meta(max_length=200)] = ""


class CommandSeen(Struct, frozen=True, kw_only=True):
    """A command to the agent, verified. `cursor`: give it as `after` to get what comes behind it."""

    cursor: int
    command: Command


class Commands(Struct, frozen=True, kw_only=True):
    state: str
    """`running`, `paused` or `killed`."""
    cursor: int
    commands: tuple[CommandSeen, ...]


class Problem(Struct, frozen=True, kw_only=True):
    """RFC 9457 (`application/problem+json`)."""

    title: str
    status: int
    detail: str = ""
