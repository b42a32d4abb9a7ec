"""The MCP SDK behind the guard: client and server, each on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

pytest.importorskip("mcp.server.mcpserver", reason="the MCP SDK 2 is not installed: see tests/integrations/run.py")

from mcp import Client
from mcp.server.mcpserver import MCPServer

from integrations.battery import Battery
from integrations.mcp_client import follow
from integrations.scenario import Mode, Scenario
from vaultak.integrations.mcp import govern, guard

NO_SUB_AGENTS = {"test_a_sub_agents_calls_are_judged": "MCP knows tools, no agents"}


def server(s: Scenario, middleware: list[Any]) -> MCPServer:
    made = MCPServer("tools", middleware=middleware)
    for function in s.functions(s.given):
        made.add_tool(function)
    return made


class McpClient:
    modes: tuple[Mode, ...] = ("async",)
    lacks: ClassVar[Mapping[str, str]] = NO_SUB_AGENTS
    says_of_errors = "Error executing tool fail"
    knows_request = False
    remote = False

    def run(self, s: Scenario) -> str:
        return asyncio.run(self.follow(s))

    async def follow(self, s: Scenario) -> str:
        tools = server(s, [])
        async with Client(tools) as client:
            govern(client, s.vt, s.agent_id, undo=s.undo, on_block=s.on_block)
            return await follow(s, client.call_tool, lambda name: tools.add_tool(s.tools.functions[name]))

    def run_sub_agent(self, s: Scenario) -> str:
        raise NotImplementedError


class McpServer(McpClient):
    remote = True

    async def follow(self, s: Scenario) -> str:
        tools = server(s, [guard(s.vt, s.agent_id, undo=s.undo)])
        async with Client(tools) as client:
            return await follow(s, client.call_tool, lambda name: tools.add_tool(s.tools.functions[name]))


class TestMcpClient(Battery):
    harness = McpClient()

    def test_a_session_governed_twice_judges_once(self, vt: Any, record: Any, tools: Any) -> None:
        async def run() -> None:
            async with Client(server(Scenario(vt, tools, []), [])) as client:
                session = govern(govern(client.session, vt, "worker"), vt, "worker")
                await session.call_tool("note", {"text": "a"})

        asyncio.run(run())
        assert [e.resource for e in record.events() if hasattr(e, "resource")] == ["tool:note"]


class TestMcpServer(Battery):
    harness = McpServer()
