"""Attributes of foreign spans: read where they make sense, never a reason to fail."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vaultak.spans import conventions

KEYS = st.sampled_from(
    [
        *("gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
        *("gen_ai.input.messages", "gen_ai.agent.id", "gen_ai.conversation.id", "mcp.method.name", "mcp.resource.uri"),
        *("openinference.span.kind", "tool.name", "input.value", "traceloop.span.kind"),
    ]
)
VALUES = (
    st.text(max_size=40)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.lists(st.text(max_size=5), max_size=3)
    | st.sampled_from(
        ["execute_tool", "tools/call", "resources/read", "TOOL", "tool", '[{"role": "user", "parts": 3}]']
    )
)


@given(st.text(max_size=20), st.dictionaries(KEYS, VALUES))
def test_any_attributes_are_a_tool_or_none(name: str, attributes: dict[str, Any]) -> None:
    tool = conventions.tool_span(name, attributes)
    if tool is not None:
        assert tool.resource
        assert set(tool.payload) <= {"tool", "arguments", "call_id"}
    assert isinstance(conventions.result_of(attributes), str)
    assert len(conventions.agent_of(attributes)) <= 256
    assert len(conventions.session_of(attributes)) <= 256
    assert all(isinstance(text, str) for text in conventions.asked(attributes))


def test_a_resource_that_is_read_over_mcp_is_an_action_on_it() -> None:
    tool = conventions.tool_span(
        "resources/read", {"mcp.method.name": "resources/read", "mcp.resource.uri": "file:///x"}
    )
    assert tool is not None
    assert (tool.action_type, tool.resource) == ("api_call", "file:///x")
