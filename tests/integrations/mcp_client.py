"""A client that does what a script says, as an agent behind MCP would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from integrations.scenario import Scenario

CallTool = Callable[[str, dict[str, Any]], Awaitable[Any]]


async def follow(s: Scenario, call_tool: CallTool, add: Callable[[str], None]) -> str:
    """Make the script's calls, those of one step at once; `add` a tool by name after the first step."""
    shown: list[str] = []
    for step in s.script:
        if isinstance(step, str):
            break
        results = await asyncio.gather(*(call_tool(name, arguments) for name, arguments in step))
        shown += [str(result) for result in results]
        for name in s.late:
            add(name)
        s.late = ()
    return "\n".join(shown)
