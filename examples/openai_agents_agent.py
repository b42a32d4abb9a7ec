"""An agent of the OpenAI Agents SDK behind the guard.

pip install 'vaultak[openai-agents]'; with a real model: VAULTAK_EXAMPLE_MODEL=gpt-5-mini and OPENAI_API_KEY.
"""

from __future__ import annotations

import asyncio
import json

from agents import Agent, RunConfig, Runner, function_tool
from agents.testing import ModelStep, ScriptedModel
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from support import AGENT, MODEL, REQUEST, SCRIPT, TOOLS, UNDO, guard, show

from vaultak.integrations.openai_agents import govern


def scripted() -> ScriptedModel:
    steps = []
    for turn, step in enumerate(SCRIPT):
        if isinstance(step, str):
            text = ResponseOutputText(text=step, type="output_text", annotations=[])
            said = ResponseOutputMessage(
                id=f"m{turn}", content=[text], role="assistant", status="completed", type="message"
            )
            steps.append(ModelStep(output=[said]))
        else:
            steps.append(ModelStep(output=[call(f"{turn}-{n}", *asked) for n, asked in enumerate(step)]))
    return ScriptedModel(steps)


def call(call_id: str, name: str, arguments: dict[str, str]) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(arguments=json.dumps(arguments), call_id=call_id, name=name, type="function_call")


async def main() -> None:
    vt = guard()
    agent = Agent(name=AGENT, model=MODEL or scripted(), tools=[function_tool(tool) for tool in TOOLS])
    async with vt.monitor(AGENT) as session:
        governed = govern(agent, vt, AGENT, undo=UNDO)
        result = await Runner.run(governed, REQUEST, run_config=RunConfig(tracing_disabled=not MODEL))
        print(result.final_output)
        show(session)
    vt.close()


if __name__ == "__main__":
    asyncio.run(main())
