"""A LangChain agent behind the guard.

pip install 'vaultak[langchain]'; with a real model: VAULTAK_EXAMPLE_MODEL=openai:gpt-5-mini and the provider's package.
"""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from support import AGENT, MODEL, REQUEST, SCRIPT, TOOLS, UNDO, guard, show

from vaultak.integrations.langchain import VaultakMiddleware


class ScriptedModel(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **_: Any) -> ScriptedModel:
        return self


def scripted() -> ScriptedModel:
    messages = []
    for turn, step in enumerate(SCRIPT):
        if isinstance(step, str):
            messages.append(AIMessage(step))
        else:
            calls = [{"name": name, "args": args, "id": f"{turn}-{n}"} for n, (name, args) in enumerate(step)]
            messages.append(AIMessage("", tool_calls=calls))
    return ScriptedModel(messages=iter(messages))


def main() -> None:
    vt = guard()
    model = init_chat_model(MODEL) if MODEL else scripted()
    agent = create_agent(model, TOOLS, middleware=[VaultakMiddleware(vt, AGENT, undo=UNDO)])
    with vt.monitor(AGENT) as session:
        answer = agent.invoke({"messages": [{"role": "user", "content": REQUEST}]})
        print(answer["messages"][-1].text)
        show(session)
    vt.close()


if __name__ == "__main__":
    main()
