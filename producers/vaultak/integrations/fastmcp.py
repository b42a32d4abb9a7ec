"""FastMCP servers: `FastMCP("tools", middleware=[VaultakMiddleware(vt, "my-agent")])`.

Its clients are governed by `vaultak.integrations.mcp.govern`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastmcp.exceptions import ToolError
from fastmcp.server.middleware import Middleware, MiddlewareContext

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError, AgentKilledError, AgentPausedError
from vaultak.integrations.mcp import error_in
from vaultak.integrations.toolcall import ToolGuard, Undo


class VaultakMiddleware(Middleware):
    """Judges each tool call that the server gets, those of mounted and proxied servers included, before the tool runs.

    The agent is at the other end: it gets an error result for what was blocked, and for all it asks while it is killed
    or stays paused. Arguments: see `ToolGuard`.
    """

    def __init__(
        self,
        vt: Vaultak,
        agent_id: str = "default",
        *,
        undo: Mapping[str, Undo] | None = None,
        intercept: bool = True,
    ) -> None:
        self.guard = ToolGuard(vt, agent_id, undo=undo, intercept=intercept)

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: Callable[[MiddlewareContext[Any]], Awaitable[Any]]
    ) -> Any:
        call = context.message
        try:
            return await self.guard.call_async(call.name, call.arguments or {}, lambda: call_next(context), error_in)
        except ActionBlockedError as e:
            raise ToolError(self.guard.refusal(e)) from e
        except (AgentPausedError, AgentKilledError) as e:
            raise ToolError(f"Not allowed: {e}.") from None
