"""The OpenAI Agents SDK behind the guard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

pytest.importorskip("agents.testing", reason="OpenAI Agents SDK is not installed: see tests/integrations/run.py")

from agents import (
    Agent,
    ApplyPatchTool,
    AsyncComputer,
    ComputerTool,
    CustomTool,
    FileSearchTool,
    LocalShellCommandRequest,
    LocalShellTool,
    RunConfig,
    RunContextWrapper,
    Runner,
    ShellCommandRequest,
    ShellTool,
    WebSearchTool,
    function_tool,
    handoff,
)
from agents.testing import ModelStep, ScriptedModel
from agents.tool import resolve_computer
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from integrations.battery import Battery
from integrations.scenario import Mode, Scenario, Step
from vaultak import ActionBlockedError
from vaultak.integrations.openai_agents import govern

QUIET = RunConfig(tracing_disabled=True)


def said(step: Step, turn: str) -> ModelStep:
    if isinstance(step, str):
        text = ResponseOutputText(text=step, type="output_text", annotations=[])
        message = ResponseOutputMessage(
            id=f"m{turn}", content=[text], role="assistant", status="completed", type="message"
        )
        return ModelStep(output=[message])
    return ModelStep(
        output=[
            ResponseFunctionToolCall(
                arguments=json.dumps(arguments), call_id=f"call-{turn}-{n}", name=name, type="function_call"
            )
            for n, (name, arguments) in enumerate(step)
        ]
    )


def scripted(script: list[Step]) -> ScriptedModel:
    return ScriptedModel([said(step, f"{id(script)}-{turn}") for turn, step in enumerate(script)])


def shown(model: ScriptedModel) -> str:
    return "\n".join(str(call.input) for call in model.calls)


class OpenAIAgents:
    modes: tuple[Mode, ...] = ("sync", "async", "stream")
    lacks: ClassVar[Mapping[str, str]] = {}
    says_of_errors = "it broke: x"
    knows_request = True
    remote = False

    def agent(self, s: Scenario) -> tuple[Any, ScriptedModel]:
        model = scripted(s.script)
        agent: Any = Agent(name=s.agent_id, model=model, tools=[function_tool(f) for f in s.functions(s.given)])
        if s.late:
            agent = LateAgent(agent, [function_tool(f) for f in s.functions(s.late)])
        return agent, model

    def run(self, s: Scenario) -> str:
        agent, model = self.agent(s)
        drive(govern(agent, s.vt, s.agent_id, undo=s.undo, on_block=s.on_block), s)
        return shown(model)

    def run_sub_agent(self, s: Scenario) -> str:
        """The inner agent is not governed by itself: the outer one's guard reaches it."""
        inner, model = self.agent(s)
        outer_model = scripted([[("delegate", {"input": "clean up"})], "all done"])
        tool = inner.as_tool("delegate", "Give a task to another agent.", run_config=QUIET)
        drive(govern(Agent(name="boss", model=outer_model, tools=[tool]), s.vt, "worker"), s)
        return shown(model)


def LateAgent(agent: Any, late: list[Any]) -> Any:
    """An agent that gets more tools with its first tool call."""
    note = agent.tools[0]
    run = note.on_invoke_tool

    async def invoke(context: Any, arguments: str) -> Any:
        agent.tools = [*agent.tools, *late]
        return await run(context, arguments)

    note.on_invoke_tool = invoke
    return agent


def drive(agent: Any, s: Scenario) -> None:
    if s.mode == "sync":
        asyncio.set_event_loop(asyncio.new_event_loop())
        Runner.run_sync(agent, s.request, run_config=QUIET)
    elif s.mode == "async":
        asyncio.run(Runner.run(agent, s.request, run_config=QUIET))
    else:
        asyncio.run(stream(agent, s.request))


async def stream(agent: Any, request: str) -> None:
    result = Runner.run_streamed(agent, request, run_config=QUIET)
    async for _ in result.stream_events():
        pass


class TestOpenAIAgents(Battery):
    harness = OpenAIAgents()

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_an_agent_that_takes_over_is_governed(self, vt: Any, tools: Any, wrapped: bool) -> None:
        inner, _ = self.harness.agent(Scenario(vt, tools, [[("erase", {"text": "all"})], "all done"]))
        first = scripted([[("transfer_to_worker", {})]])
        boss = Agent(name="boss", model=first, handoffs=[handoff(inner) if wrapped else inner])
        asyncio.run(Runner.run(govern(boss, vt, "worker"), "go", run_config=QUIET))
        assert tools.ran == []

    def test_shells_editors_and_custom_tools_are_judged(self, tmp_path: Any, record: Any) -> None:
        vt = self.client(tmp_path, record, allowed_resources=["tool:custom"])
        ran: list[str] = []

        async def custom(context: Any, text: str) -> str:
            ran.append(text)
            return "done"

        class Editor:
            def create_file(self, operation: Any) -> None:
                ran.append("create")

            update_file = delete_file = create_file

        tools = [
            LocalShellTool(executor=lambda request: ran.append("local") or "x"),
            ShellTool(executor=lambda request: ran.append("shell") or "x"),
            CustomTool(name="custom", description="", on_invoke_tool=custom),
            ApplyPatchTool(editor=Editor()),
        ]
        agent = govern(Agent(name="worker", tools=tools), vt, "worker")
        local, shell, own, patch = asyncio.run(agent.get_all_tools(RunContextWrapper(None)))
        assert "Not allowed" in asyncio.run(local.executor(LocalShellCommandRequest(None, None)))
        assert "Not allowed" in asyncio.run(shell.executor(ShellCommandRequest(None, None)))
        assert asyncio.run(own.on_invoke_tool(None, "hello")) == "done"
        with pytest.raises(ActionBlockedError):
            asyncio.run(patch.editor.create_file("x"))
        assert ran == ["hello"]
        vt.close()

    @pytest.mark.parametrize("made", [False, True])
    def test_what_a_computer_does_is_judged(self, tmp_path: Any, record: Any, made: bool) -> None:
        vt = self.client(tmp_path, record, blocked_resources=["tool:computer*"])
        computer = Screen()
        given = ComputerTool(computer=(lambda *, run_context: computer) if made else computer)
        agent = govern(Agent(name="worker", tools=[given]), vt, "worker")

        async def click() -> Any:
            context = RunContextWrapper(None)
            (tool,) = await agent.get_all_tools(context)
            governed = await resolve_computer(tool=tool, run_context=context)
            assert governed.dimensions == (10, 10)
            with pytest.raises(ActionBlockedError):
                await governed.click(1, 2, "left")

        asyncio.run(click())
        assert computer.did == []
        vt.close()

    def test_a_hosted_tool_that_may_not_be_used_is_not_offered(self, tmp_path: Any, record: Any) -> None:
        vt = self.client(tmp_path, record, blocked_resources=["tool:web_search*"])
        search = [WebSearchTool(), FileSearchTool(vector_store_ids=["x"])]
        agent = govern(Agent(name="worker", tools=search), vt, "worker")
        assert asyncio.run(agent.get_all_tools(RunContextWrapper(None))) == search[1:]
        vt.close()


class Screen(AsyncComputer):
    environment = "browser"
    dimensions = (10, 10)

    def __init__(self) -> None:
        self.did: list[str] = []

    async def click(self, *_: Any) -> None:
        self.did.append("click")

    screenshot = double_click = scroll = type = wait = move = keypress = drag = click
