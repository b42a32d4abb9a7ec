"""Pydantic AI: `Agent(model, tools=[...], capabilities=[VaultakCapability(vt, "my-agent")])`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic_ai import RunContext, ToolDefinition
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.messages import ToolCallPart

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError
from vaultak.integrations.toolcall import OnBlock, ToolGuard, Undo


class VaultakCapability(AbstractCapability[Any]):
    """Judges each tool call before the tool runs, whatever toolset it is from.

    A blocked call fails with `ToolFailed`: the model sees why and goes on. Arguments: see `ToolGuard`. Serves `run`,
    `run_sync`, `run_stream`, `iter`. An agent that a tool runs needs the capability too: calling it is one tool call.
    """

    def __init__(
        self,
        vt: Vaultak,
        agent_id: str = "default",
        *,
        undo: Mapping[str, Undo] | None = None,
        on_block: OnBlock = "tell",
        intercept: bool = True,
    ) -> None:
        self.guard = ToolGuard(vt, agent_id, undo=undo, on_block=on_block, intercept=intercept)

    async def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        handler: Callable[[dict[str, Any]], Awaitable[Any]],
    ) -> Any:
        self.guard.asked(ctx.prompt)
        try:
            return await self.guard.call_async(call.tool_name, args, lambda: handler(args))
        except ActionBlockedError as e:
            raise ToolFailed(self.guard.refusal(e)) from e
