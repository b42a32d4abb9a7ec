"""A server of FastMCP behind the guard: whoever calls its tools, in whatever language.

pip install 'vaultak[fastmcp]'. MCP knows no model: the script's calls are made as an agent would make them.
"""

from __future__ import annotations

import asyncio

from fastmcp import Client, FastMCP
from support import AGENT, SCRIPT, TOOLS, UNDO, guard, show

from vaultak.integrations.fastmcp import VaultakMiddleware


async def main() -> None:
    vt = guard()
    server = FastMCP("shop", middleware=[VaultakMiddleware(vt, AGENT, undo=UNDO)])
    for function in TOOLS:
        server.tool(function)
    async with vt.monitor(AGENT) as session, Client(server) as client:
        for step in SCRIPT:
            if isinstance(step, str):
                print(step)
                continue
            for name, arguments in step:
                await client.call_tool(name, arguments, raise_on_error=False)
        show(session)
    vt.close()


if __name__ == "__main__":
    asyncio.run(main())
