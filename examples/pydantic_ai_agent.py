"""A Pydantic AI agent behind the guard.

pip install 'vaultak[pydantic-ai]'; with a real model: VAULTAK_EXAMPLE_MODEL=openai:gpt-5-mini and the provider's extra.
"""

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from support import AGENT, MODEL, REQUEST, SCRIPT, TOOLS, UNDO, guard, show

from vaultak.integrations.pydantic_ai import VaultakCapability


def scripted() -> FunctionModel:
    script = iter(SCRIPT)

    def says(_messages: Any, _info: Any) -> ModelResponse:
        step = next(script)
        if isinstance(step, str):
            return ModelResponse(parts=[TextPart(step)])
        return ModelResponse(parts=[ToolCallPart(name, arguments) for name, arguments in step])

    return FunctionModel(says)


def main() -> None:
    vt = guard()
    agent = Agent(MODEL or scripted(), tools=TOOLS, capabilities=[VaultakCapability(vt, AGENT, undo=UNDO)])
    with vt.monitor(AGENT) as session:
        print(agent.run_sync(REQUEST).output)
        show(session)
    vt.close()


if __name__ == "__main__":
    main()
