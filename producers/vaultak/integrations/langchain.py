"""LangChain and LangGraph: `create_agent(model, tools, middleware=[VaultakMiddleware(vt, "my-agent")])`.

In a graph of one's own: `ToolNode(tools, wrap_tool_call=m.wrap_tool_call, awrap_tool_call=m.awrap_tool_call)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError
from vaultak.integrations.plain import content_of
from vaultak.integrations.toolcall import OnBlock, ToolGuard, Undo

Result = Any
"""A `ToolMessage`, or a LangGraph `Command`."""


class VaultakMiddleware(AgentMiddleware):
    """Judges each tool call before the tool runs, the tools that middleware or a request adds included.

    A blocked call answers with a `ToolMessage` of status `error`. Arguments: see `ToolGuard`. Serves `invoke`,
    `ainvoke` and the streaming of both. A sub-agent needs the middleware too: calling it is one tool call.
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
        super().__init__()
        self.guard = ToolGuard(vt, agent_id, undo=undo, on_block=on_block, intercept=intercept)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Result]) -> Result:
        self._asked(request)
        call = request.tool_call
        try:
            return self.guard.call(call["name"], call["args"], lambda: handler(request), _error)
        except ActionBlockedError as e:
            return self._refused(request, e)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Result]]
    ) -> Result:
        self._asked(request)
        call = request.tool_call
        try:
            return await self.guard.call_async(call["name"], call["args"], lambda: handler(request), _error)
        except ActionBlockedError as e:
            return self._refused(request, e)

    def _asked(self, request: ToolCallRequest) -> None:
        state = request.state
        messages = state if isinstance(state, list) else _member(state, "messages")
        for message in reversed(messages if isinstance(messages, list) else []):
            if isinstance(message, HumanMessage):
                self.guard.asked(message.text)
                return

    def _refused(self, request: ToolCallRequest, denial: ActionBlockedError) -> ToolMessage:
        call = request.tool_call
        text = self.guard.refusal(denial)
        return ToolMessage(content=text, name=call["name"], tool_call_id=call["id"], status="error")


def _member(state: object, name: str) -> object:
    return state.get(name) if isinstance(state, Mapping) else getattr(state, name, None)


def _error(result: Result) -> str:
    return content_of(result) or "error" if getattr(result, "status", None) == "error" else ""
