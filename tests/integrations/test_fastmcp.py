"""FastMCP behind the guard: its servers, and its clients."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

pytest.importorskip("fastmcp.server.middleware", reason="FastMCP is not installed: see tests/integrations/run.py")

from fastmcp import Client, FastMCP

from integrations.battery import Battery
from integrations.mcp_client import follow
from integrations.scenario import Mode, Scenario
from vaultak.integrations.fastmcp import VaultakMiddleware
from vaultak.integrations.mcp import govern

NO_SUB_AGENTS = {"test_a_sub_agents_calls_are_judged": "MCP knows tools, no agents"}


def server(s: Scenario, middleware: list[Any]) -> FastMCP:
    made = FastMCP("tools", middleware=middleware)
    for function in s.functions(s.given):
        made.tool(function)
    return made


class FastMcpServer:
    modes: tuple[Mode, ...] = ("async",)
    lacks: ClassVar[Mapping[str, str]] = NO_SUB_AGENTS
    says_of_errors = "it broke: x"
    knows_request = False
    remote = True

    def run(self, s: Scenario) -> str:
        return asyncio.run(self.follow(s))

    async def follow(self, s: Scenario) -> str:
        tools = server(s, [VaultakMiddleware(s.vt, s.agent_id, undo=s.undo)])
        async with Client(tools) as client:
            return await follow(s, calls(client), lambda name: tools.tool(s.tools.functions[name]))

    def run_sub_agent(self, s: Scenario) -> str:
        raise NotImplementedError


class FastMcpClient(FastMcpServer):
    remote = False

    async def follow(self, s: Scenario) -> str:
        tools = server(s, [])
        async with Client(tools) as client:
            govern(client, s.vt, s.agent_id, undo=s.undo, on_block=s.on_block)
            return await follow(s, calls(client), lambda name: tools.tool(s.tools.functions[name]))


def calls(client: Any) -> Any:
    async def call_tool(name: str, arguments: dict[str, Any]) -> Any:
        return await client.call_tool(name, arguments, raise_on_error=False)

    return call_tool


class TestFastMcpServer(Battery):
    harness = FastMcpServer()

    def test_tools_of_a_mounted_server_are_judged(self, vt: Any, tools: Any) -> None:
        async def run() -> Any:
            outer = FastMCP("outer", middleware=[VaultakMiddleware(vt, "worker")])
            outer.mount(server(Scenario(vt, tools, []), []))
            async with Client(outer) as client:
                return await client.call_tool("erase", {"text": "all"}, raise_on_error=False)

        assert "Not allowed" in str(asyncio.run(run()))
        assert tools.ran == []


class TestFastMcpClient(Battery):
    harness = FastMcpClient()
