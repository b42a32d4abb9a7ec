"""An agent of Google's ADK behind the guard.

pip install 'vaultak[google-adk]'; with a real model: VAULTAK_EXAMPLE_MODEL=gemini-3-flash and GOOGLE_API_KEY.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types
from support import AGENT, MODEL, REQUEST, SCRIPT, TOOLS, UNDO, guard, show

from vaultak.integrations.google_adk import VaultakPlugin


class Scripted(BaseLlm):
    turn: int = 0

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[LlmResponse]:
        step, self.turn = SCRIPT[self.turn], self.turn + 1
        if isinstance(step, str):
            parts = [types.Part(text=step)]
        else:
            parts = [types.Part.from_function_call(name=name, args=arguments) for name, arguments in step]
        yield LlmResponse(content=types.Content(role="model", parts=parts))


async def main() -> None:
    vt = guard()
    agent = LlmAgent(name="clerk", model=MODEL or Scripted(model="scripted"), tools=TOOLS)
    runner = InMemoryRunner(agent=agent, app_name="shop", plugins=[VaultakPlugin(vt, AGENT, undo=UNDO)])
    chat = await runner.session_service.create_session(app_name="shop", user_id="u")
    message = types.Content(role="user", parts=[types.Part(text=REQUEST)])
    async with vt.monitor(AGENT) as session:
        async for event in runner.run_async(user_id="u", session_id=chat.id, new_message=message):
            if event.is_final_response() and event.content:
                print(event.content.parts[0].text)
        show(session)
    vt.close()


if __name__ == "__main__":
    asyncio.run(main())
