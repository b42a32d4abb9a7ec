"""smolagents: `govern(agent, vt, "my-agent").run("...")`, for agents that call tools and agents that write code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from smolagents import AgentError, FinalAnswerTool, LocalPythonExecutor, MultiStepAgent

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError, ActionDeniedError, AgentPausedError
from vaultak.integrations.toolcall import OnBlock, ToolGuard, Undo

A = TypeVar("A")

CODE_TOOL = "python_interpreter"
"""The name under which a code agent's code is judged."""


def govern(
    agent: A,
    vt: Vaultak,
    agent_id: str = "default",
    *,
    undo: Mapping[str, Undo] | None = None,
    on_block: OnBlock = "tell",
    intercept: bool = True,
) -> A:
    """Judge each tool call of an agent and of the agents that it manages, before the tool runs; returns the same agent.

    A code agent's code is a call of `python_interpreter`; inside it, each tool is judged too where the code runs in
    this process. The final answer is no call. An agent that was governed under a name of its own keeps it. Arguments:
    see `ToolGuard`.
    """
    _adopt(agent, ToolGuard(vt, agent_id, undo=undo, on_block=on_block, intercept=intercept))
    return agent


def _adopt(agent: Any, guard: ToolGuard) -> None:
    if isinstance(agent, MultiStepAgent) and not hasattr(agent, "vaultak_guard"):
        agent.__class__ = _governed_class(type(agent), guard)
        if hasattr(agent, "python_executor"):
            agent.python_executor = _Executor(agent.python_executor, guard)
    for managed in getattr(agent, "managed_agents", {}).values():
        _adopt(managed, guard)


def _governed_class(kind: Any, guard: ToolGuard) -> type:
    """What a governed agent of some class does differently. A class of one base: agents can change to no other."""

    def run(agent: Any, *arguments: Any, **named: Any) -> Any:
        _adopt(agent, guard)  # those that it has come to manage since
        return kind.run(agent, *arguments, **named)

    def execute_tool_call(agent: Any, tool_name: str, arguments: Any) -> Any:
        if isinstance(agent.tools.get(tool_name), FinalAnswerTool):
            return kind.execute_tool_call(agent, tool_name, arguments)
        guard.asked(agent.task)
        try:
            return guard.call(
                tool_name, arguments, lambda: _unwrapped(kind.execute_tool_call, agent, tool_name, arguments)
            )
        except ActionBlockedError as e:
            return guard.refusal(e)

    def _step_stream(agent: Any, memory_step: Any) -> Iterator[Any]:
        # An agent takes the errors of a step for something to try again; what ends the run is raised as what it is.
        try:
            yield from kind._step_stream(agent, memory_step)
        except AgentError as e:
            denial = _denial_in(e)
            if denial is not None and (isinstance(denial, AgentPausedError) or guard.on_block == "raise"):
                raise denial from e
            raise

    members: dict[str, Any] = {"run": run, "_step_stream": _step_stream, "vaultak_guard": guard}
    if hasattr(kind, "execute_tool_call"):
        members["execute_tool_call"] = execute_tool_call
    return type(kind.__name__, (kind,), {**members, "__module__": kind.__module__})


class _Executor:
    """A Python executor whose code, and whose tools, are judged; all else is the original's."""

    def __init__(self, original: Any, guard: ToolGuard) -> None:
        self._original = original
        self._guard = guard

    def __call__(self, code: str, *more: Any) -> Any:
        try:
            return self._guard.call(CODE_TOOL, {"code": code}, lambda: _unwrapped(self._original, code, *more))
        except ActionBlockedError as e:
            told = self._guard.refusal(e)
            raise ActionBlockedError(told, action_id=e.action_id, reasons=e.reasons) from e

    def send_tools(self, tools: dict[str, Any]) -> None:
        if isinstance(self._original, LocalPythonExecutor):
            tools = {name: self._governed(name, tool) for name, tool in tools.items()}
        self._original.send_tools(tools)

    def _governed(self, name: str, tool: Any) -> Any:
        if isinstance(tool, FinalAnswerTool):
            return tool

        def call(*given: Any, **named: Any) -> Any:
            shown = {**named, **({"arguments": given} if given else {})}
            return self._guard.call(name, shown, lambda: tool(*given, **named))

        return call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _unwrapped(run: Callable[..., Any], *given: Any) -> Any:
    """Run, and raise a denial from inside as what it is: the framework makes it an error of the tool."""
    try:
        return run(*given)
    except Exception as e:
        denial = _denial_in(e)
        if denial is None or denial is e:
            raise
        raise denial from e


def _denial_in(error: BaseException | None) -> ActionDeniedError | None:
    while error is not None:
        if isinstance(error, ActionDeniedError):
            return error
        error = error.__cause__ or error.__context__
    return None
