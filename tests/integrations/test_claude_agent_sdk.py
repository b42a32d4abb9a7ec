"""The Claude Agent SDK behind the guard, with its bundled program and a Messages API on the loopback."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("claude_agent_sdk", reason="Claude Agent SDK is not installed: see tests/integrations/run.py")

from claude_agent_sdk import AgentDefinition, ClaudeAgentOptions, create_sdk_mcp_server, query, tool

from integrations.battery import Battery
from integrations.scenario import Mode, Scenario
from vaultak.integrations.claude_agent_sdk import govern

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))
from messages_api import MessagesApi

SERVER = "mcp__t__"


def own_tool(name: str, function: Any) -> Any:
    @tool(name, function.__doc__, {"text": str})
    async def run(arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"content": [{"type": "text", "text": function(arguments["text"])}]}
        except RuntimeError as e:
            return {"content": [{"type": "text", "text": str(e)}], "is_error": True}

    return run


class ClaudeAgentSDK:
    modes: tuple[Mode, ...] = ("async", "stream")
    lacks: ClassVar[Mapping[str, str]] = {
        "test_what_a_tool_does_is_judged_too": "the tools run outside of the hooks",
        "test_a_tool_added_at_run_time_is_judged": "the SDK has no way to add one",
    }
    says_of_errors = "it broke: x"
    knows_request = True
    remote = True

    def run(self, s: Scenario) -> str:
        return asyncio.run(self.drive(s, []))

    def run_sub_agent(self, s: Scenario) -> str:
        """The sub-agent's turns follow the call that starts it."""
        call = ("Task", {"description": "clean", "prompt": "clean up", "subagent_type": "helper"})
        s.script = [[call], *s.script, "all done"]
        return asyncio.run(self.drive(s, ["Task"], agents={"helper": AgentDefinition("It helps.", "Help.")}))

    async def drive(self, s: Scenario, built_in: list[str], **more: Any) -> str:
        functions = s.tools.functions
        server = create_sdk_mcp_server("t", tools=[own_tool(name, functions[name]) for name in s.given])
        with MessagesApi(s.script, SERVER) as api, tempfile.TemporaryDirectory() as home:
            options = ClaudeAgentOptions(
                mcp_servers={"t": server},
                allowed_tools=[f"{SERVER}{name}" for name in s.given],
                tools=built_in,
                cwd=home,
                setting_sources=[],
                env=environment(home, api.url),
                include_partial_messages=s.mode == "stream",
                **more,
            )
            undo = {f"{SERVER}{name}": function for name, function in s.undo.items()}
            governed = govern(options, s.vt, s.agent_id, undo=undo, on_block=s.on_block)
            said = [str(message) async for message in query(prompt=s.request, options=governed)]
            return "\n".join([*said, *api.seen])


def environment(home: str, url: str) -> dict[str, str]:
    return {
        "HOME": home,
        "CLAUDE_CONFIG_DIR": home,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


class TestClaudeAgentSDK(Battery):
    harness = ClaudeAgentSDK()
    prefix = SERVER
