"""MCP, either end: `govern(session, vt, "my-agent")`, `MCPServer("tools", middleware=[guard(vt, "my-agent")])`.

`govern` takes a `ClientSession`, a `Client`, a session group, or FastMCP's client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from mcp.types import CallToolResult, TextContent

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError, AgentKilledError, AgentPausedError
from vaultak.integrations.plain import content_of
from vaultak.integrations.toolcall import OnBlock, ToolGuard, Undo

S = TypeVar("S")
Middleware = Callable[[Any, Callable[[Any], Awaitable[Any]]], Awaitable[Any]]


def govern(
    session: S,
    vt: Vaultak,
    agent_id: str = "default",
    *,
    undo: Mapping[str, Undo] | None = None,
    on_block: OnBlock = "tell",
    intercept: bool = True,
) -> S:
    """Judge each tool call of a client before it is sent; returns the same session.

    A blocked call answers with an error result, as a server would. What the tool does on the server is the server's:
    it can have a guard of its own. Arguments: see `ToolGuard`. A session is governed once: again changes nothing.
    """
    target: Any = session
    # FastMCP's client raises what `call_tool` gets as an error; beneath it is the call as it is.
    name = "call_tool_mcp" if hasattr(target, "call_tool_mcp") else "call_tool"
    send = getattr(target, name)
    if hasattr(send, "vaultak_guard"):
        return session
    tools = ToolGuard(vt, agent_id, undo=undo, on_block=on_block, intercept=intercept)

    async def call_tool(name: str, arguments: dict[str, Any] | None = None, *more: Any, **named: Any) -> Any:
        try:
            return await tools.call_async(
                name, arguments or {}, lambda: send(name, arguments, *more, **named), error_in
            )
        except ActionBlockedError as e:
            return error_result(tools.refusal(e))

    call_tool.vaultak_guard = tools  # type: ignore[attr-defined]  # marks what is governed
    setattr(target, name, call_tool)
    return session


def guard(
    vt: Vaultak,
    agent_id: str = "default",
    *,
    undo: Mapping[str, Undo] | None = None,
    intercept: bool = True,
) -> Middleware:
    """Middleware that judges each tool call a server gets, whoever sent it, before the tool runs.

    The agent is at the other end: it gets an error result for what was blocked, and for all it asks while it is killed
    or stays paused. Arguments: see `ToolGuard`.
    """
    tools = ToolGuard(vt, agent_id, undo=undo, intercept=intercept)

    async def middleware(context: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        if context.method != "tools/call":
            return await call_next(context)
        parameters = context.params if isinstance(context.params, Mapping) else {}
        name, arguments = parameters.get("name", ""), parameters.get("arguments") or {}
        try:
            return await tools.call_async(str(name), arguments, lambda: call_next(context), error_in)
        except ActionBlockedError as e:
            return error_result(tools.refusal(e))
        except (AgentPausedError, AgentKilledError) as e:
            return error_result(f"Not allowed: {e}.")

    return middleware


def error_result(text: str) -> CallToolResult:
    """A tool's result that says what went wrong, in either generation of the protocol's types."""
    fields = CallToolResult.model_fields
    name = "is_error" if "is_error" in fields else "isError"
    return CallToolResult(content=[TextContent(type="text", text=text)], **{name: True})


def error_in(result: Any) -> str:
    """What went wrong, if the result says that something did."""
    if isinstance(result, Mapping):
        failed, content = result.get("isError"), result.get("content")
    else:
        failed = result.is_error if hasattr(result, "is_error") else getattr(result, "isError", False)
        content = getattr(result, "content", None)
    return (content_of(content) or "error") if failed else ""
