"""CrewAI behind the guard."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, ClassVar

import pytest

if find_spec("crewai") is None:
    pytest.skip("CrewAI is not installed: see tests/integrations/run.py", allow_module_level=True)

os.environ.update(CREWAI_DISABLE_TELEMETRY="true", OTEL_SDK_DISABLED="true", CREWAI_TRACING_ENABLED="false")

from crewai import Agent, BaseLLM, Crew, Task
from crewai.tools import tool

from integrations.battery import Battery
from integrations.scenario import Mode, Scenario, Step
from vaultak.integrations.crewai import govern


class Scripted(BaseLLM):
    """Says what the script says; `seen` is all that it was shown."""

    script: list[Any] = []  # noqa: RUF012 - a field of a model
    seen: list[str] = []  # noqa: RUF012 - a field of a model

    def call(self, messages: Any, *_: Any, **__: Any) -> Any:
        self.seen.append(str(messages))
        step: Step = self.script.pop(0)
        if isinstance(step, str):
            return step
        return [
            {
                "id": f"c{len(self.seen)}-{n}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for n, (name, arguments) in enumerate(step)
        ]

    async def acall(self, *given: Any, **named: Any) -> Any:
        return self.call(*given, **named)

    def supports_function_calling(self) -> bool:
        return True


class Writing(Scripted):
    """Writes its calls as text, one at a time."""

    def call(self, messages: Any, *_: Any, **__: Any) -> Any:
        self.seen.append(str(messages))
        step: Step = self.script.pop(0)
        if isinstance(step, str):
            return f"Thought: I now know the answer\nFinal Answer: {step}"
        ((name, arguments),) = step
        return f"Thought: I need it\nAction: {name}\nAction Input: {json.dumps(arguments)}"

    def supports_function_calling(self) -> bool:
        return False


class CrewAI:
    kind: Any = Scripted
    modes: tuple[Mode, ...] = ("sync", "async")
    lacks: ClassVar[Mapping[str, str]] = {}
    says_of_errors = "it broke: x"
    knows_request = True
    remote = False

    def agent(self, s: Scenario) -> tuple[Any, Scripted]:
        script = [s.script[0], "done for now", *s.script[1:]] if s.late else list(s.script)
        model = self.kind(model="scripted", script=script, seen=[])
        made = [tool(f) for f in s.functions(s.given)]
        agent = Agent(role="helper", goal="help", backstory="It helps.", llm=model, tools=made)
        return agent, model

    def run(self, s: Scenario) -> str:
        agent, model = self.agent(s)
        with govern(s.vt, s.agent_id, undo=s.undo, on_block=s.on_block):
            drive([agent], agent, s)
        return "\n".join(model.seen)

    def run_sub_agent(self, s: Scenario) -> str:
        """A coworker, to whom the first agent delegates."""
        inner, model = self.agent(s)
        call = ("delegate_work_to_coworker", {"task": "clean up", "context": "-", "coworker": "helper"})
        leader = self.kind(model="scripted", script=[[call], "all done"], seen=[])
        boss = Agent(role="boss", goal="lead", backstory="It leads.", llm=leader, allow_delegation=True)
        with govern(s.vt, s.agent_id):
            drive([boss, inner], boss, s)
        return "\n".join(model.seen)


def drive(agents: list[Any], first: Any, s: Scenario) -> None:
    def add(_: Any) -> None:
        tasks[-1].tools = [*first.tools, *(tool(f) for f in s.functions(s.late))]

    tasks = [Task(description=s.request, expected_output="a word", agent=first, callback=add)]
    if s.late:
        tasks.append(Task(description=s.request, expected_output="a word", agent=first))
    crew = Crew(agents=agents, tasks=tasks, verbose=False)
    if s.mode == "sync":
        crew.kickoff()
    else:
        asyncio.run(crew.akickoff())


class CrewAIInText(CrewAI):
    kind = Writing
    lacks: ClassVar[Mapping[str, str]] = {
        "test_of_calls_made_at_once_each_is_judged": "a text names one call",
    }


class TestCrewAIInText(Battery):
    harness = CrewAIInText()


class TestCrewAI(Battery):
    harness = CrewAI()
