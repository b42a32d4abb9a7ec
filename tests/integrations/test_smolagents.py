"""smolagents behind the guard: agents that call tools, and agents that write code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

pytest.importorskip("smolagents", reason="smolagents is not installed: see tests/integrations/run.py")

from smolagents import CodeAgent, LogLevel, Model, Tool, ToolCallingAgent
from smolagents.models import ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole

from integrations.battery import Battery
from integrations.scenario import Mode, Scenario, Step
from vaultak.integrations.smolagents import govern


class Scripted(Model):
    """Says what the script says; `seen` is all that it was shown."""

    def __init__(self, script: list[Step], code: bool) -> None:
        super().__init__(model_id="scripted")
        self.script = list(script)
        self.seen: list[str] = []
        self.code = code

    def generate(self, messages: Any, **_: Any) -> ChatMessage:
        self.seen.append(str(messages))
        step = self.script.pop(0)
        calls = [("final_answer", {"answer": step})] if isinstance(step, str) else step
        if self.code:
            lines = [f"{name}(**{arguments!r})" for name, arguments in calls]
            return ChatMessage(MessageRole.ASSISTANT, content="<code>\n" + "\n".join(lines) + "\n</code>")
        asked = [
            ChatMessageToolCall(ChatMessageToolCallFunction(arguments, name), f"c{len(self.seen)}-{n}", "function")
            for n, (name, arguments) in enumerate(calls)
        ]
        return ChatMessage(MessageRole.ASSISTANT, content="", tool_calls=asked)


def own_tool(function: Any) -> Tool:
    class Own(Tool):
        name = function.__name__
        description = function.__doc__
        inputs: ClassVar[dict[str, Any]] = {"text": {"type": "string", "description": "what"}}
        output_type = "string"
        skip_forward_signature_validation = True

        def forward(self, text: str) -> str:
            return function(text)

    return Own()


class ToolCalling:
    modes: tuple[Mode, ...] = ("sync", "stream")
    lacks: ClassVar[Mapping[str, str]] = {}
    says_of_errors = "it broke: x"
    knows_request = True
    remote = False
    kind: Any = ToolCallingAgent
    code = False

    def agent(self, s: Scenario) -> tuple[Any, Scripted]:
        model = Scripted(s.script, self.code)
        made = [own_tool(f) for f in s.functions(s.given)]
        agent = self.kind(tools=made, model=model, verbosity_level=LogLevel.OFF, max_steps=8, **self.more)
        if s.late:
            late = [own_tool(f) for f in s.functions(s.late)]
            agent.step_callbacks.register(step_kind(), lambda *_, **__: add(agent, late))
        return agent, model

    more: ClassVar[dict[str, Any]] = {}

    def run(self, s: Scenario) -> str:
        agent, model = self.agent(s)
        drive(govern(agent, s.vt, s.agent_id, undo=s.undo, on_block=s.on_block), s)
        return "\n".join(model.seen)

    def run_sub_agent(self, s: Scenario) -> str:
        """The managed agent is not governed by itself: its manager's guard reaches it."""
        inner, model = self.agent(s)
        inner.name, inner.description = "helper", "It helps."
        boss = Scripted([[("helper", {"task": "clean up"})], "all done"], self.code)
        agent = self.kind(tools=[], model=boss, managed_agents=[inner], verbosity_level=LogLevel.OFF, **self.more)
        drive(govern(agent, s.vt, "worker"), s)
        return "\n".join(model.seen)


class CodeWriting(ToolCalling):
    kind = CodeAgent
    code = True
    knows_request = False
    lacks: ClassVar[Mapping[str, str]] = {
        "test_of_calls_made_at_once_each_is_judged": "the calls of a piece of code are made one after the other",
        "test_what_cannot_be_judged_does_not_run": "the final answer is code too",
    }


def step_kind() -> Any:
    from smolagents.memory import ActionStep

    return ActionStep


def add(agent: Any, late: list[Tool]) -> None:
    agent.tools.update({tool.name: tool for tool in late})
    if executor := getattr(agent, "python_executor", None):
        executor.send_tools(agent.tools)


def drive(agent: Any, s: Scenario) -> None:
    if s.mode == "sync":
        agent.run(s.request)
    else:
        for _ in agent.run(s.request, stream=True):
            pass


class TestToolCalling(Battery):
    harness = ToolCalling()


class TestCodeWriting(Battery):
    harness = CodeWriting()
