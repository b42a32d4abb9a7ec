"""LangChain and LangGraph behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

pytest.importorskip("langchain.agents", reason="LangChain is not installed: see tests/integrations/run.py")

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.tools import tool
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from integrations.battery import Battery
from integrations.scenario import Mode, Scenario, Step
from vaultak.integrations.langchain import VaultakMiddleware


class ScriptedModel(BaseChatModel):
    """Says what the script says; `seen` is all that it was shown."""

    script: list[Any]
    seen: list[str]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> ScriptedModel:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.seen.append(str(messages))
        message = AIMessage(**said(self.script.pop(0)))
        return ChatResult(generations=[ChatGeneration(message=message)])


def said(step: Step) -> dict[str, Any]:
    if isinstance(step, str):
        return {"content": step}
    calls = [{"name": name, "args": args, "id": f"call-{n}-{id(step)}"} for n, (name, args) in enumerate(step)]
    return {"content": "", "tool_calls": calls}


class LateTools(AgentMiddleware):
    """Tools that only a request to the model adds; a middleware inside of the guard's runs them."""

    def __init__(self, tools: list[Any]) -> None:
        super().__init__()
        self.late = {t.name: t for t in tools}

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(tools=[*request.tools, *self.late.values()]))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request.override(tools=[*request.tools, *self.late.values()]))

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(tool=self.late.get(request.tool_call["name"], request.tool)))

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await handler(request.override(tool=self.late.get(request.tool_call["name"], request.tool)))


class LangChain:
    modes: tuple[Mode, ...] = ("sync", "async", "stream")
    lacks: ClassVar[Mapping[str, str]] = {}
    says_of_errors = "it broke: x"
    knows_request = True
    remote = False

    def agent(self, s: Scenario) -> tuple[Any, ScriptedModel]:
        model = ScriptedModel(script=list(s.script), seen=[])
        middleware: list[Any] = [VaultakMiddleware(s.vt, s.agent_id, undo=s.undo, on_block=s.on_block)]
        if s.late:
            middleware.append(LateTools([tool(f) for f in s.functions(s.late)]))
        return create_agent(model, [tool(f) for f in s.functions(s.given)], middleware=middleware), model

    def run(self, s: Scenario) -> str:
        agent, model = self.agent(s)
        self.drive(agent, s)
        return "\n".join(model.seen)

    def drive(self, agent: Any, s: Scenario) -> None:
        asked = {"messages": [{"role": "user", "content": s.request}]}
        if s.mode == "sync":
            agent.invoke(asked)
        elif s.mode == "async":
            asyncio.run(agent.ainvoke(asked))
        else:
            asyncio.run(stream(agent, asked))

    def run_sub_agent(self, s: Scenario) -> str:
        inner, model = self.agent(s)

        @tool
        def delegate(task: str) -> str:
            """Give a task to another agent."""
            return str(inner.invoke({"messages": [{"role": "user", "content": task}]})["messages"][-1].content)

        outer_model = ScriptedModel(script=[[("delegate", {"task": "clean up"})], "all done"], seen=[])
        outer = create_agent(outer_model, [delegate], middleware=[VaultakMiddleware(s.vt, "boss")])
        self.drive(outer, s)
        return "\n".join(model.seen)


async def stream(agent: Any, asked: Any) -> None:
    async for _ in agent.astream(asked, stream_mode=["updates", "messages"]):
        pass


class TestLangChain(Battery):
    harness = LangChain()
