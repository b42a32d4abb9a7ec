"""An agent of the Claude Agent SDK behind the guard: its bundled program, its tools in this process.

pip install 'vaultak[claude-agent-sdk]'; with a real model: VAULTAK_EXAMPLE_MODEL=sonnet and ANTHROPIC_API_KEY.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, create_sdk_mcp_server, query, tool
from messages_api import MessagesApi
from support import AGENT, MODEL, REQUEST, SCRIPT, TOOLS, UNDO, guard, show

from vaultak.integrations.claude_agent_sdk import govern

PREFIX = "mcp__shop__"


def offered(function: Callable[..., str]) -> Any:
    parameters: dict[str, type] = dict.fromkeys(inspect.signature(function).parameters, str)

    @tool(function.__name__, function.__doc__ or "", parameters)
    async def run(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": function(**arguments)}]}

    return run


@contextlib.contextmanager
def model() -> Iterator[dict[str, Any]]:
    """Options for a real model, or for one on the loopback that says what the script says."""
    if MODEL:
        yield {"model": MODEL}
        return
    with MessagesApi(SCRIPT, PREFIX) as api, tempfile.TemporaryDirectory() as home:
        env = {"HOME": home, "CLAUDE_CONFIG_DIR": home, "ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "none"}
        yield {"cwd": home, "env": env | {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}}


async def main() -> None:
    vt = guard()
    undo = {f"{PREFIX}{name}": function for name, function in UNDO.items()}
    with model() as chosen:
        options = ClaudeAgentOptions(
            mcp_servers={"shop": create_sdk_mcp_server("shop", tools=[offered(f) for f in TOOLS])},
            allowed_tools=[f"{PREFIX}{f.__name__}" for f in TOOLS],
            tools=[],
            setting_sources=[],
            **chosen,
        )
        async with vt.monitor(AGENT, intercept=False) as session:
            async for message in query(prompt=REQUEST, options=govern(options, vt, AGENT, undo=undo)):
                if isinstance(message, ResultMessage):
                    print(message.result)
            show(session)
    vt.close()


if __name__ == "__main__":
    asyncio.run(main())
