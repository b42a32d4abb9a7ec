"""The MCP SDK's client, and a server from the package index, with the proxy between them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("mcp.server.mcpserver", reason="the MCP SDK 2 is not installed: see tests/integrations/run.py")

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client


def test_a_published_server_behind_the_guard(tmp_path: Path) -> None:
    server = Path(sys.executable).with_name("mcp-server-time")
    if not server.exists() and shutil.which("mcp-server-time") is None:
        pytest.skip("mcp-server-time is not installed")
    arguments = ["-m", "vaultak", "mcp-proxy", "--block", "tool:convert_time", "--mode", "block"]
    env = {**os.environ, "VAULTAK_DATA_DIR": str(tmp_path), "VAULTAK_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    proxied = StdioServerParameters(command=sys.executable, args=[*arguments, "--", str(server)], env=env)

    async def use() -> None:
        async with Client(stdio_client(proxied)) as client:
            assert "get_current_time" in [tool.name for tool in (await client.list_tools()).tools]
            now = await client.call_tool("get_current_time", {"timezone": "UTC"})
            assert "datetime" in str(now)
            denied = await client.call_tool(
                "convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Europe/Berlin"}
            )
            assert "Not allowed" in str(denied)

    asyncio.run(use())
