"""OpenAI Agents SDK: `Runner.run(govern(agent, vt, "my-agent"), "...")`.

The agents that it hands off to, and those it uses as tools, are governed with it.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from agents import (
    Agent,
    ApplyPatchTool,
    AsyncComputer,
    Computer,
    ComputerProvider,
    ComputerTool,
    CustomTool,
    FunctionTool,
    Handoff,
    LocalShellTool,
    ShellTool,
)
from agents.tool import maybe_invoke_function_tool_failure_error_function, set_function_tool_failure_error_function

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError, AgentPausedError
from vaultak.integrations.plain import arguments_of, content_of, plain
from vaultak.integrations.toolcall import OnBlock, ToolGuard, Undo

A = TypeVar("A")

MAX_KEPT_TOOLS = 1024
"""Governed copies kept so that a tool stays one object between the turns of a run."""


def govern(
    agent: A,
    vt: Vaultak,
    agent_id: str = "default",
    *,
    undo: Mapping[str, Undo] | None = None,
    on_block: OnBlock = "tell",
    intercept: bool = True,
) -> A:
    """Judge each tool call of an agent, and of the agents it hands off to or calls; returns the same agent.

    Function, MCP, shell, patch, computer and custom tools are judged before they run, whenever they were added. Hosted
    tools run at the provider, where nothing can stop them: those that the limits forbid are not offered to the model.
    An agent that was governed under a name of its own keeps it. Arguments: see `ToolGuard`.
    """
    guard = ToolGuard(vt, agent_id, undo=undo, on_block=on_block, intercept=intercept)
    _adopt(agent, _Tools(guard))
    return agent


def _adopt(agent: Any, tools: _Tools) -> None:
    if isinstance(agent, Agent) and getattr(type(agent), "vaultak_tools", None) is None:
        agent.__class__ = tools.governed_class(type(agent))


class _Tools:
    """The governed forms of one agent's tools."""

    def __init__(self, guard: ToolGuard) -> None:
        self.guard = guard
        self._kept: OrderedDict[int, tuple[Any, Any]] = OrderedDict()
        self._classes: dict[type, type] = {}

    def governed_class(self, kind: Any) -> type:
        if kind not in self._classes:

            async def get_all_tools(agent: Any, run_context: Any) -> list[Any]:
                offered = await kind.get_all_tools(agent, run_context)
                self.guard.asked(_request(run_context))
                self._adopt_all(agent, offered)
                return [governed for tool in offered if (governed := self.governed(tool)) is not None]

            members = {"get_all_tools": get_all_tools, "vaultak_tools": self, "__module__": kind.__module__}
            self._classes[kind] = type(kind.__name__, (kind,), members)
        return self._classes[kind]

    def _adopt_all(self, agent: Any, offered: list[Any]) -> None:
        for tool in offered:
            _adopt(getattr(tool, "_agent_instance", None), self)
        for handoff in agent.handoffs:
            _adopt(handoff, self)
            if isinstance(handoff, Handoff) and not hasattr(handoff.on_invoke_handoff, "vaultak_tools"):
                handoff.on_invoke_handoff = self._handing(handoff.on_invoke_handoff)

    def _handing(self, invoke: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(invoke)
        async def handing(*arguments: Any) -> Any:
            agent = await invoke(*arguments)
            _adopt(agent, self)
            return agent

        handing.vaultak_tools = self  # type: ignore[attr-defined]  # marks what is wrapped already
        return handing

    def governed(self, tool: Any) -> Any:
        """The governed form of a tool; `None` for a hosted one that may not be used."""
        known = self._kept.get(id(tool))
        if known is not None and known[0] is tool:
            return known[1]
        form = self._form(tool)
        if form is not tool:
            self._kept[id(tool)] = (tool, form)
            while len(self._kept) > MAX_KEPT_TOOLS:
                self._kept.popitem(last=False)
        return form

    def _form(self, tool: Any) -> Any:
        if isinstance(tool, FunctionTool):
            return _function_tool(tool, self.guard)
        if isinstance(tool, CustomTool):
            return replace(tool, on_invoke_tool=_executor(tool.name, tool.on_invoke_tool, self.guard, 1))
        if isinstance(tool, LocalShellTool) or (isinstance(tool, ShellTool) and tool.executor is not None):
            return replace(tool, executor=_executor(tool.name, tool.executor, self.guard, 0))
        if isinstance(tool, ApplyPatchTool):
            editor = _Performer(tool.editor, tool.name, ("create_file", "update_file", "delete_file"), self.guard)
            return replace(tool, editor=editor)
        if isinstance(tool, ComputerTool):
            return _computer_tool(tool, self.guard)
        return None if self.guard.forbids(str(getattr(tool, "name", type(tool).__name__))) else tool


def _function_tool(tool: Any, guard: ToolGuard) -> Any:
    # The copy raises what goes wrong, so that it is recorded; what the model is told of it is the tool's own matter.
    body = set_function_tool_failure_error_function(copy.copy(tool), None)

    async def invoke(context: Any, arguments: str) -> Any:
        try:
            return await guard.call_async(
                tool.qualified_name, arguments_of(arguments), lambda: body.on_invoke_tool(context, arguments)
            )
        except ActionBlockedError as e:
            return guard.refusal(e)
        except AgentPausedError:
            raise
        except Exception as e:
            told = await maybe_invoke_function_tool_failure_error_function(function_tool=tool, context=context, error=e)
            if told is None:
                raise
            return told

    governed = copy.copy(tool)
    governed.on_invoke_tool = invoke
    return governed


def _executor(name: str, run: Any, guard: ToolGuard, position: int) -> Callable[..., Awaitable[Any]]:
    """A shell's or custom tool's function; the argument at `position` is what the model gave."""

    async def execute(*given: Any) -> Any:
        shown = given[position]
        shown = {"input": shown} if isinstance(shown, str) else plain(getattr(shown, "data", shown))
        try:
            return await guard.call_async(name, shown, lambda: _awaited(run, *given))
        except ActionBlockedError as e:
            return guard.refusal(e)

    return execute


class _Performer:
    """An editor or computer whose operations are judged; all else is the original's."""

    def __init__(self, original: Any, name: str, operations: tuple[str, ...], guard: ToolGuard) -> None:
        self._original, self._name, self._operations, self._guard = original, name, operations, guard

    @property  # type: ignore[misc]  # the framework tells computers apart by it
    def __class__(self) -> Any:
        return type(self._original)

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._original, name)
        if name not in self._operations:
            return member

        @functools.wraps(member)
        async def perform(*given: Any, **named: Any) -> Any:
            shown = {"operation": name, "arguments": plain(given), **plain(named)}
            return await self._guard.call_async(self._name, shown, lambda: _awaited(member, *given, **named))

        return perform


_COMPUTER_OPERATIONS = ("screenshot", "click", "double_click", "scroll", "type", "wait", "move", "keypress", "drag")


def _computer_tool(tool: Any, guard: ToolGuard) -> Any:
    def governed(computer: Any) -> Any:
        return _Performer(computer, tool.name, _COMPUTER_OPERATIONS, guard)

    def made_by(create: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def made(*, run_context: Any) -> Any:
            return governed(await _awaited(create, run_context=run_context))

        return made

    computer = tool.computer
    if isinstance(computer, ComputerProvider):
        return replace(tool, computer=replace(computer, create=made_by(computer.create)))
    if isinstance(computer, Computer | AsyncComputer):
        return replace(tool, computer=governed(computer))
    return replace(tool, computer=made_by(computer))


async def _awaited(run: Callable[..., Any], *given: Any, **named: Any) -> Any:
    result = run(*given, **named)
    return await result if inspect.isawaitable(result) else result


def _request(run_context: Any) -> str:
    """The last message of the user in what this turn began with."""
    for item in reversed(list(getattr(run_context, "turn_input", None) or ())):
        if isinstance(item, Mapping) and item.get("role") == "user":
            content = item.get("content")
            if isinstance(content, str):
                return content
            return "\n".join(str(part.get("text") or content_of(part)) for part in content or ())
    return ""
