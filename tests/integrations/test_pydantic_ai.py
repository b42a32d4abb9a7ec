"""Pydantic AI behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import pytest

pytest.importorskip("pydantic_ai.capabilities", reason="Pydantic AI is not installed: see tests/integrations/run.py")

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from pydantic_ai.toolsets import FunctionToolset

from integrations.battery import Battery
from integrations.scenario import Mode, Scenario, Step
from vaultak.integrations.pydantic_ai import VaultakCapability


class Scripted:
    """A model that says what the script says; `seen` is all that it was shown."""

    def __init__(self, script: list[Step]) -> None:
        self.script = list(script)
        self.seen: list[str] = []

    def _next(self, messages: Any) -> Step:
        self.seen.append(str(messages))
        return self.script.pop(0)

    def says(self, messages: Any, _: Any) -> ModelResponse:
        step = self._next(messages)
        if isinstance(step, str):
            return ModelResponse(parts=[TextPart(step)])
        return ModelResponse(parts=[ToolCallPart(name, arguments) for name, arguments in step])

    async def streams(self, messages: Any, info: Any) -> AsyncIterator[Any]:
        step = self.says(messages, info)
        for position, part in enumerate(step.parts):
            if isinstance(part, TextPart):
                yield part.content
            else:
                call = DeltaToolCall(part.tool_name, part.args_as_json_str(), tool_call_id=part.tool_call_id)
                yield {position: call}

    @property
    def model(self) -> FunctionModel:
        return FunctionModel(self.says, stream_function=self.streams)


class PydanticAI:
    modes: tuple[Mode, ...] = ("sync", "async", "stream")
    lacks: ClassVar[Mapping[str, str]] = {}
    says_of_errors = "it broke: x"
    knows_request = True
    remote = False

    def agent(self, s: Scenario) -> tuple[Any, Scripted]:
        model = Scripted(s.script)
        late = FunctionToolset(s.functions(s.late))
        agent = Agent(
            model.model,
            tools=s.functions(s.given),
            capabilities=[VaultakCapability(s.vt, s.agent_id, undo=s.undo, on_block=s.on_block)],
        )
        if s.late:
            agent.toolset(lambda ctx: late if s.tools.ran else None)
        return agent, model

    def run(self, s: Scenario) -> str:
        agent, model = self.agent(s)
        drive(agent, s)
        return "\n".join(model.seen)

    def run_sub_agent(self, s: Scenario) -> str:
        inner, model = self.agent(s)

        async def delegate(task: str) -> str:
            return str((await inner.run(task)).output)

        boss = Scripted([[("delegate", {"task": "clean up"})], "all done"])
        drive(Agent(boss.model, tools=[delegate], capabilities=[VaultakCapability(s.vt, "boss")]), s)
        return "\n".join(model.seen)


def drive(agent: Any, s: Scenario) -> None:
    if s.mode == "sync":
        asyncio.set_event_loop(asyncio.new_event_loop())
        agent.run_sync(s.request)
    elif s.mode == "async":
        asyncio.run(agent.run(s.request))
    else:
        asyncio.run(stream(agent, s.request))


async def stream(agent: Any, request: str) -> None:
    async with agent.run_stream(request) as result:
        async for _ in result.stream_text():
            pass


class TestPydanticAI(Battery):
    harness = PydanticAI()
