"""A crew of CrewAI's behind the guard.

pip install 'vaultak[crewai]'; with a real model: VAULTAK_EXAMPLE_MODEL=openai/gpt-5-mini and the provider's key.
"""

from __future__ import annotations

import json
import os
from typing import Any

os.environ.setdefault("CREWAI_DISABLE_TELEMETRY", "true")
os.environ.setdefault("CREWAI_TRACING_ENABLED", "false")

from crewai import LLM, Agent, BaseLLM, Crew, Task
from crewai.tools import tool
from support import AGENT, MODEL, REQUEST, SCRIPT, TOOLS, UNDO, guard, show

from vaultak.integrations.crewai import govern


class Scripted(BaseLLM):
    turn: int = 0

    def call(self, *_: Any, **__: Any) -> Any:
        step, self.turn = SCRIPT[self.turn], self.turn + 1
        if isinstance(step, str):
            return step
        return [
            {"id": f"{self.turn}-{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
            for n, (name, args) in enumerate(step)
        ]

    def supports_function_calling(self) -> bool:
        return True


def main() -> None:
    vt = guard()
    llm = LLM(model=MODEL) if MODEL else Scripted(model="scripted")
    clerk = Agent(
        role="clerk", goal="help customers", backstory="It works in a shop.", llm=llm, tools=[tool(f) for f in TOOLS]
    )
    task = Task(description=REQUEST, expected_output="what was done", agent=clerk)
    # CrewAI's own books are files too: here only its tools count.
    with vt.monitor(AGENT, intercept=False) as session, govern(vt, AGENT, undo=UNDO):
        print(Crew(agents=[clerk], tasks=[task]).kickoff())
        show(session)
    vt.close()


if __name__ == "__main__":
    main()
