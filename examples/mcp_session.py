"""A client of the MCP SDK behind the guard; the server is one of the SDK's own, in this process.

pip install 'vaultak[mcp]'. MCP knows no model: the script's calls are made as an agent would make them.
"""

from __future__ import annotations

import asyncio

from mcp import Client
from mcp.server.mcpserver import MCPServer
from support import AGENT, SCRIPT, TOOLS, UNDO, guard, show

from vaultak.integrations.mcp import govern


async def main() -> None:
    vt = guard()
    server = MCPServer("shop")
    for function in TOOLS:
        server.add_tool(function)
    async with vt.monitor(AGENT) as session, Client(server) as client:
        governed = govern(client, vt, AGENT, undo=UNDO)
        for step in SCRIPT:
            if isinstance(step, str):
                print(step)
                continue
            for name, arguments in step:
                await governed.call_tool(name, arguments)
        show(session)
    vt.close()


if __name__ == "__main__":
    asyncio.run(main())
