"""Google ADK behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import pytest

pytest.importorskip("google.adk.plugins.base_plugin", reason="Google ADK is missing: see tests/integrations/run.py")

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import InMemoryRunner
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.base_toolset import BaseToolset
from google.adk.tools.function_tool import FunctionTool
from google.genai import types

from integrations.battery import Battery
from integrations.scenario import Mode, Scenario, Step
from vaultak.integrations.google_adk import VaultakPlugin


class Scripted(BaseLlm):
    """Says what the script says; `seen` is all that it was shown."""

    script: list[Any]
    seen: list[str]

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[LlmResponse]:
        self.seen.append(str(llm_request.contents))
        step: Step = self.script.pop(0)
        if isinstance(step, str):
            parts = [types.Part(text=step)]
        else:
            parts = [types.Part.from_function_call(name=name, args=arguments) for name, arguments in step]
        yield LlmResponse(content=types.Content(role="model", parts=parts))


class Growing(BaseToolset):
    """Offers more tools once one has run."""

    def __init__(self, s: Scenario) -> None:
        super().__init__()
        self.s = s
        self._use_invocation_cache = False

    async def get_tools(self, readonly_context: Any = None) -> list[Any]:
        return [FunctionTool(f) for f in self.s.functions(self.s.late)] if self.s.tools.ran else []

    async def close(self) -> None:
        return None


class GoogleADK:
    modes: tuple[Mode, ...] = ("sync", "async", "stream")
    lacks: ClassVar[Mapping[str, str]] = {}
    says_of_errors = "it broke: x"
    knows_request = True
    remote = False

    def agent(self, s: Scenario) -> tuple[Any, Scripted]:
        model = Scripted(model="scripted", script=list(s.script), seen=[])
        tools = [*s.functions(s.given), *([Growing(s)] if s.late else [])]
        return LlmAgent(name="helper", description="It helps.", model=model, tools=tools), model

    def run(self, s: Scenario) -> str:
        agent, model = self.agent(s)
        drive(agent, s)
        return "\n".join(model.seen)

    def run_sub_agent(self, s: Scenario) -> str:
        inner, model = self.agent(s)
        leader = Scripted(model="scripted", script=[[("helper", {"request": "clean up"})], "all done"], seen=[])
        drive(LlmAgent(name="boss", model=leader, tools=[AgentTool(inner)]), s)
        return "\n".join(model.seen)


def drive(agent: Any, s: Scenario) -> None:
    plugin = VaultakPlugin(s.vt, s.agent_id, undo=s.undo, on_block=s.on_block)
    runner = InMemoryRunner(agent=agent, app_name="test", plugins=[plugin])
    message = types.Content(role="user", parts=[types.Part(text=s.request)])
    session = asyncio.run(runner.session_service.create_session(app_name="test", user_id="u"))
    named = {"user_id": "u", "session_id": session.id, "new_message": message}
    if s.mode == "sync":
        for _ in runner.run(**named):
            pass
    else:
        mode = StreamingMode.SSE if s.mode == "stream" else StreamingMode.NONE
        asyncio.run(follow(runner, named, RunConfig(streaming_mode=mode)))


async def follow(runner: Any, named: dict[str, Any], config: RunConfig) -> None:
    async for _ in runner.run_async(**named, run_config=config):
        pass


class TestGoogleADK(Battery):
    harness = GoogleADK()

    def test_an_agent_that_takes_over_is_governed(self, vt: Any, tools: Any) -> None:
        s = Scenario(vt, tools, [[("erase", {"text": "all"})], "all done"])
        inner, _ = self.harness.agent(s)
        call = [("transfer_to_agent", {"agent_name": "helper"})]
        leader = Scripted(model="scripted", script=[call], seen=[])
        drive(LlmAgent(name="boss", model=leader, sub_agents=[inner]), s)
        assert tools.ran == []
