"""What of MCP is judged, whatever carries it: tool calls, resources, prompts, and what a server asks of the model."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError, ActionDeniedError, AgentKilledError, VaultakError
from vaultak.integrations.plain import content_of
from vaultak.integrations.toolcall import ToolGuard
from vaultak.mcp_proxy.messages import REFUSED, Message, error, tool_error, write
from vaultak.mcp_proxy.pins import Pins
from vaultak.wire import ActionType, AgentState

log = logging.getLogger("vaultak.mcp")

OnChange = Literal["allow", "alert", "block"]
Forward = Callable[[], Awaitable[Message]]

READS: Final = frozenset({"resources/read", "resources/subscribe", "prompts/get"})
"""What a client asks for besides tools: judged as the tool of that name."""
JUDGED: Final = READS | {"tools/call"}
"""These are requests: without an id there is nobody to answer, and a lenient server might run them all the same."""
ASKS: Final = frozenset({"sampling/createMessage", "elicitation/create"})
"""What a server asks of the client, and so of the model or its user: judged likewise."""


class Gate:
    """Judges the requests of one MCP connection for an agent. `on_change`: what becomes of a tool that is not what it
    was when it was first seen."""

    def __init__(self, vt: Vaultak, agent_id: str, pins: Pins, on_change: OnChange = "block") -> None:
        self._tools = ToolGuard(vt, agent_id, intercept=False)
        self._monitor = vt.monitor(agent_id, session_id=self._tools.session_id, intercept=False)
        self._pins = pins
        self._on_change = on_change
        self._changed: set[str] = set()
        self._reported: set[str] = set()

    @property
    def is_killed(self) -> bool:
        return self._monitor.state is AgentState.KILLED

    async def request(self, message: Message, forward: Forward) -> bytes:
        """The answer to a client's request: the server's, or why there is none. `forward` sends it and waits."""
        if self.is_killed and message.method != "tools/call":
            return error(message.id, REFUSED, "Not allowed: the agent is killed")
        match message.method:
            case "tools/call":
                return await self._call(message, forward)
            case "tools/list":
                return self._listed(await forward())
            case method if method in READS:
                return await self.ask(message, forward)
        return (await forward()).raw

    async def ask(self, message: Message, forward: Forward) -> bytes:
        """As `request`, for what is no tool: a refusal is an error of JSON-RPC's."""
        try:
            return await self._judged(message.method, message.params, forward)
        except (ActionDeniedError, AgentKilledError) as e:
            return error(message.id, REFUSED, f"Not allowed: {e}")

    async def _call(self, message: Message, forward: Forward) -> bytes:
        assert message.id is not None
        name, arguments = str(message.params.get("name", "")), message.params.get("arguments") or {}
        try:
            if name in self._changed and self._on_change == "block":
                self._refuse(name, arguments)
            return await self._judged(name, arguments, forward)
        except ActionBlockedError as e:
            return tool_error(message.id, self._tools.refusal(e))
        except (ActionDeniedError, AgentKilledError) as e:
            return tool_error(message.id, f"Not allowed: {e}.")

    async def _judged(self, tool: str, arguments: object, forward: Forward) -> bytes:
        answers: list[Message] = []

        async def run() -> Any:
            answers.append(await forward())
            return answers[0].result

        await self._tools.call_async(tool, arguments, run, lambda _: _error_in(answers[0]))
        return answers[0].raw

    def _refuse(self, name: str, arguments: object) -> None:
        payload = {"tool": name, "arguments": arguments}
        self._monitor.refuse(ActionType.TOOL_CALL, f"tool:{name}", payload, _CHANGED.format(name=name))

    def _listed(self, answer: Message) -> bytes:
        """The tools of a server, without those that have changed where these are blocked."""
        tools = answer.result.get("tools") if isinstance(answer.result, Mapping) else None
        if tools is None:
            return answer.raw
        if not isinstance(tools, list) or not all(_is_tool(tool) for tool in tools):
            # A client that reads it leniently would get tools that nobody has compared.
            return error(answer.id, REFUSED, "the server's list of tools is malformed")
        changed = self._pins.changed(tools)
        self._changed.difference_update(str(tool.get("name", "")) for tool in tools)
        self._changed.update(changed)
        for name in changed:
            self._report(name)
        if not changed or self._on_change != "block":
            return answer.raw
        left = [tool for tool in tools if tool.get("name") not in self._changed]
        return write({**answer.members, "result": {**answer.result, "tools": left}})

    def _report(self, name: str) -> None:
        """Once for each tool: on record, for the pipeline to judge and people to see."""
        if name in self._reported:
            return
        self._reported.add(name)
        why = _CHANGED.format(name=name)
        log.warning("%s", why)
        payload = {"op": "tool_changed", "tool": name, "on_change": self._on_change}
        try:
            if self._on_change == "block":
                self._monitor.refuse(ActionType.CUSTOM, f"mcp-tool:{name}", payload, why)
            else:
                self._monitor.check(ActionType.CUSTOM, f"mcp-tool:{name}", payload)
        except ActionBlockedError:
            return  # it is on record as what it is
        except VaultakError as e:
            log.error("the change could not be recorded: %s", e)


_CHANGED: Final = "tool `{name}` is not what it was when it was first seen: its description or schema has changed"


def _is_tool(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)


def _error_in(answer: Message) -> str:
    """What went wrong, if the answer says that something did."""
    failed: Any = answer.members.get("error")
    if isinstance(failed, Mapping):
        return str(failed.get("message", "error"))
    result = answer.result
    return (content_of(result) or "error") if isinstance(result, Mapping) and result.get("isError") is True else ""
