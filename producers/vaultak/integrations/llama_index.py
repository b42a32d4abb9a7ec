"""LlamaIndex: `govern(agent, vt, "my-agent").run("...")`, for a workflow agent or an `AgentWorkflow`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from llama_index.core.tools import ToolOutput

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError, ActionDeniedError, AgentKilledError, ConfigurationError, VaultakError
from vaultak.integrations.toolcall import OnBlock, ToolGuard, Undo

A = TypeVar("A")


def govern(
    agent: A,
    vt: Vaultak,
    agent_id: str = "default",
    *,
    undo: Mapping[str, Undo] | None = None,
    on_block: OnBlock = "tell",
    intercept: bool = True,
) -> A:
    """Judge each tool call of an agent, or of all agents of an `AgentWorkflow`, before the tool runs; returns the same.

    A blocked call answers with a `ToolOutput` that is an error. An agent that a tool runs needs its own: calling it is
    one tool call. A kill ends the run with a `VaultakError` whose cause is the `AgentKilledError`. An agent is governed
    once: again changes nothing. Arguments: see `ToolGuard`. Raises `ConfigurationError` for what calls no tools.
    """
    target: Any = agent
    call = getattr(target, "_call_tool", None)
    if call is None:
        raise ConfigurationError(f"`{type(agent).__name__}` is no workflow agent: it has no tool calls to judge")
    if hasattr(call, "vaultak_guard"):
        return agent
    guard = ToolGuard(vt, agent_id, undo=undo, on_block=on_block, intercept=intercept)

    async def call_tool(ctx: Any, tool: Any, tool_input: dict[str, Any]) -> Any:
        name = tool.metadata.get_name()
        guard.asked(await ctx.store.get("user_msg_str", default=""))
        try:
            return await guard.call_async(name, tool_input, lambda: _raising(call, ctx, tool, tool_input), _error_in)
        except ActionBlockedError as e:
            told = guard.refusal(e)
            return ToolOutput(content=told, tool_name=name, raw_input=tool_input, raw_output=told, is_error=True)
        except AgentKilledError as e:
            # What is no `Exception` would leave whoever reads the workflow's events waiting for ever.
            raise VaultakError(str(e)) from e

    call_tool.vaultak_guard = guard  # type: ignore[attr-defined]  # marks what is governed
    object.__setattr__(agent, "_call_tool", call_tool)  # agents are models, which refuse unknown members
    return agent


async def _raising(call: Any, *given: Any) -> Any:
    """Agents turn what a tool raises into a result; a denial of what it did is raised as what it is."""
    result = await call(*given)
    error = getattr(result, "exception", None)
    if isinstance(error, ActionDeniedError):
        raise error
    return result


def _error_in(result: Any) -> str:
    return str(result.content) if result.is_error else ""
