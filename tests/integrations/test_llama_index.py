"""LlamaIndex behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

pytest.importorskip("llama_index.core.agent.workflow", reason="LlamaIndex is missing: see tests/integrations/run.py")

from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool

from integrations.battery import Battery
from integrations.scenario import Mode, Scenario, Step
from vaultak import ConfigurationError
from vaultak.integrations.llama_index import govern


class Scripted:
    """Says what the script says; `seen` is all that it was shown."""

    def __init__(self, script: list[Step]) -> None:
        self.script = list(script)
        self.seen: list[str] = []

    def __call__(self, messages: Any, **_: Any) -> ChatMessage:
        self.seen.append(str(messages))
        step = self.script.pop(0)
        if isinstance(step, str):
            return ChatMessage(role="assistant", blocks=[TextBlock(text=step)])
        return ChatMessage(
            role="assistant",
            blocks=[
                ToolCallBlock(tool_call_id=f"c{len(self.seen)}-{n}", tool_name=name, tool_kwargs=arguments)
                for n, (name, arguments) in enumerate(step)
            ],
        )

    @property
    def llm(self) -> Any:
        return MockFunctionCallingLLM(response_generator=self, is_chat_model=True)


class LlamaIndex:
    modes: tuple[Mode, ...] = ("async", "stream")
    lacks: ClassVar[Mapping[str, str]] = {}
    says_of_errors = "it broke: x"
    knows_request = True
    remote = False

    def agent(self, s: Scenario) -> tuple[Any, Scripted]:
        model = Scripted(s.script)
        agent = FunctionAgent(
            name="helper",
            description="It helps.",
            tools=s.functions(s.given),
            llm=model.llm,
            streaming=s.mode == "stream",
        )
        if s.late:
            agent.tools = [with_late(agent, s)]
        return agent, model

    def run(self, s: Scenario) -> str:
        agent, model = self.agent(s)
        asyncio.run(drive(govern(agent, s.vt, s.agent_id, undo=s.undo, on_block=s.on_block), s))
        return "\n".join(model.seen)

    def run_sub_agent(self, s: Scenario) -> str:
        """The other agent takes over within one workflow."""
        inner, model = self.agent(s)
        boss = Scripted([[("handoff", {"to_agent": "helper", "reason": "clean up"})]])
        first = FunctionAgent(name="boss", description="It leads.", llm=boss.llm, can_handoff_to=["helper"])
        workflow = AgentWorkflow(agents=[first, inner], root_agent="boss")
        asyncio.run(drive(govern(workflow, s.vt, s.agent_id), s))
        return "\n".join(model.seen)


def with_late(agent: Any, s: Scenario) -> Any:
    def note(text: str) -> str:
        """Write a note."""
        agent.tools = [*agent.tools, *(FunctionTool.from_defaults(f) for f in s.functions(s.late))]
        return s.tools.note(text)

    return FunctionTool.from_defaults(note)


async def drive(agent: Any, s: Scenario) -> None:
    handler = agent.run(user_msg=s.request)
    if s.mode == "stream":
        async for _ in handler.stream_events():
            pass
    await handler


class TestLlamaIndex(Battery):
    harness = LlamaIndex()

    def test_what_calls_no_tools_cannot_be_governed(self, vt: Any) -> None:
        with pytest.raises(ConfigurationError, match="no tool calls"):
            govern(MockLLM(), vt, "worker")
