"""What a span says of a tool or of a request, by the conventions in use. Pure: attributes in, structs out.

OpenTelemetry's for GenAI and MCP (`gen_ai.*`, `mcp.*`; in development, so older names are read too), OpenInference's
and OpenLLMetry's. Sources: opentelemetry.io/docs/specs/semconv/gen-ai, Arize's OpenInference, Traceloop's OpenLLMetry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from vaultak.wire import ActionType

MAX_TEXT_CHARS = 64 * 1024
MAX_MESSAGES = 64

Attributes = Mapping[str, Any]


class ToolSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call. Empty where the span does not say."""

    tool: str
    action_type: ActionType = ActionType.TOOL_CALL
    resource: str = ""
    arguments: Any = None
    call_id: str = ""

    @property
    def payload(self) -> dict[str, Any]:
        """As the framework adapters send it."""
        shown = self.arguments if isinstance(self.arguments, dict) else {"value": self.arguments}
        members: dict[str, Any] = {"tool": self.tool, "arguments": {} if self.arguments is None else shown}
        return members | ({"call_id": self.call_id} if self.call_id else {})


class _Names(msgspec.Struct, frozen=True):
    """Where one convention keeps what."""

    marks: dict[str, frozenset[str]]
    tool: tuple[str, ...]
    arguments: tuple[str, ...]
    result: tuple[str, ...]


_CONVENTIONS = (
    _Names(
        {"gen_ai.operation.name": frozenset({"execute_tool"}), "mcp.method.name": frozenset({"tools/call"})},
        ("gen_ai.tool.name", "mcp.tool.name"),
        ("gen_ai.tool.call.arguments", "tool_arguments", "mcp.request.argument"),
        ("gen_ai.tool.call.result", "tool_response", "mcp.tool.result"),
    ),
    _Names(
        {"openinference.span.kind": frozenset({"TOOL"})},
        ("tool.name",),
        ("tool.parameters", "input.value"),
        ("output.value",),
    ),
    _Names(
        {"traceloop.span.kind": frozenset({"tool"})},
        ("traceloop.entity.name",),
        ("traceloop.entity.input",),
        ("traceloop.entity.output",),
    ),
)

_AGENT = ("gen_ai.agent.id", "gen_ai.agent.name", "agent.name", "traceloop.association.properties.agent_id")
_SESSION = ("gen_ai.conversation.id", "session.id", "mcp.session.id", "traceloop.association.properties.session_id")
_ASKED = ("gen_ai.input.messages", "gen_ai.prompt")


def tool_span(name: str, attributes: Attributes) -> ToolSpan | None:
    """The tool call that a span is; `None` for any other. `name`: the span's, for where no attribute names the tool."""
    if _text(attributes, ("mcp.method.name",)) == "resources/read":
        uri = _text(attributes, ("mcp.resource.uri",))
        return ToolSpan(tool="resources/read", action_type=ActionType.API_CALL, resource=uri or "mcp:resource")
    names = _convention(attributes)
    if names is None:
        return None
    tool = _text(attributes, names.tool) or name.removeprefix("execute_tool ").removeprefix("tools/call ").strip()
    arguments = next((_value(attributes[key]) for key in names.arguments if key in attributes), None)
    call_id = _text(attributes, ("gen_ai.tool.call.id", "jsonrpc.request.id", "mcp.request.id"))
    return ToolSpan(tool=tool, resource=f"tool:{tool}", arguments=arguments, call_id=call_id)


def result_of(attributes: Attributes) -> str:
    """What a tool returned, as text; empty where the span does not say."""
    names = _convention(attributes)
    return "" if names is None else _text(attributes, names.result)


def agent_of(attributes: Attributes) -> str:
    """The agent's id, or its name; empty where the span does not say."""
    return _text(attributes, _AGENT)[:256]


def session_of(attributes: Attributes) -> str:
    return _text(attributes, _SESSION)[:256]


def asked(attributes: Attributes) -> Iterator[str]:
    """What users said, in the messages that a span of a model carries."""
    for key in _ASKED:
        messages = _value(attributes.get(key))
        if isinstance(messages, list):
            for message in messages[-MAX_MESSAGES:]:
                if isinstance(message, dict) and message.get("role") == "user" and (said := _said(message)):
                    yield said[:MAX_TEXT_CHARS]


def _said(message: dict[str, Any]) -> str:
    if isinstance(content := message.get("content"), str):
        return content
    parts = message.get("parts")
    texts = [p.get("content", "") for p in parts if isinstance(p, dict)] if isinstance(parts, list) else []
    return "\n".join(text for text in texts if isinstance(text, str))


def _convention(attributes: Attributes) -> _Names | None:
    for names in _CONVENTIONS:
        if any(str(attributes.get(key, "")) in values for key, values in names.marks.items()):
            return names
    # Pydantic AI before its third format names the tool and the call, not the operation.
    if "gen_ai.tool.call.id" in attributes and "gen_ai.operation.name" not in attributes:
        return _CONVENTIONS[0]
    return None


def _text(attributes: Attributes, keys: tuple[str, ...]) -> str:
    """The first of several attributes that is there, as text."""
    for key in keys:
        value = attributes.get(key)
        if value is not None and value != "":
            text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            return text[:MAX_TEXT_CHARS]
    return ""


def _value(value: Any) -> Any:
    """Attributes are flat: objects travel as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return value[:MAX_TEXT_CHARS]
