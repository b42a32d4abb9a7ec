"""A LlamaIndex agent behind the guard.

pip install 'vaultak[llama-index]'; with a real model: llama-index-llms-openai, VAULTAK_EXAMPLE_MODEL=gpt-5-mini.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from support import AGENT, MODEL, REQUEST, SCRIPT, TOOLS, UNDO, guard, show

from vaultak.integrations.llama_index import govern


def scripted() -> MockFunctionCallingLLM:
    script = iter(enumerate(SCRIPT))

    def says(_messages: Any, **_: Any) -> ChatMessage:
        turn, step = next(script)
        if isinstance(step, str):
            return ChatMessage(role="assistant", blocks=[TextBlock(text=step)])
        calls = [
            ToolCallBlock(tool_call_id=f"{turn}-{n}", tool_name=name, tool_kwargs=arguments)
            for n, (name, arguments) in enumerate(step)
        ]
        return ChatMessage(role="assistant", blocks=calls)

    return MockFunctionCallingLLM(response_generator=says, is_chat_model=True)


async def main() -> None:
    vt = guard()
    llm = importlib.import_module("llama_index.llms.openai").OpenAI(model=MODEL) if MODEL else scripted()
    agent = govern(FunctionAgent(tools=TOOLS, llm=llm), vt, AGENT, undo=UNDO)
    async with vt.monitor(AGENT) as session:
        print(await agent.run(user_msg=REQUEST))
        show(session)
    vt.close()


if __name__ == "__main__":
    asyncio.run(main())
