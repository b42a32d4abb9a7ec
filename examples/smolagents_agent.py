"""A smolagents agent behind the guard.

pip install 'vaultak[smolagents]'; with a real model: VAULTAK_EXAMPLE_MODEL=Qwen/Qwen3-32B and HF_TOKEN.
"""

from __future__ import annotations

from typing import Any

from smolagents import InferenceClientModel, LogLevel, Model, ToolCallingAgent, tool
from smolagents.models import ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole
from support import AGENT, MODEL, REQUEST, SCRIPT, TOOLS, UNDO, guard, show

from vaultak.integrations.smolagents import govern


class Scripted(Model):
    def __init__(self) -> None:
        super().__init__(model_id="scripted")
        self.script = iter(enumerate(SCRIPT))

    def generate(self, messages: Any, **_: Any) -> ChatMessage:
        turn, step = next(self.script)
        asked = [("final_answer", {"answer": step})] if isinstance(step, str) else step
        calls = [
            ChatMessageToolCall(ChatMessageToolCallFunction(arguments, name), f"{turn}-{n}", "function")
            for n, (name, arguments) in enumerate(asked)
        ]
        return ChatMessage(MessageRole.ASSISTANT, content="", tool_calls=calls)


def main() -> None:
    vt = guard()
    model = InferenceClientModel(model_id=MODEL) if MODEL else Scripted()
    agent = ToolCallingAgent(tools=[tool(t) for t in TOOLS], model=model, verbosity_level=LogLevel.OFF)
    with vt.monitor(AGENT) as session:
        print(govern(agent, vt, AGENT, undo=UNDO).run(REQUEST))
        show(session)
    vt.close()


if __name__ == "__main__":
    main()
