"""CrewAI: `govern(vt, "my-crew")` once, before the crew starts; it is for all crews, as they are copied to run."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from crewai import Agent, Crew
from crewai.hooks import register_before_tool_call_hook
from crewai.tools import BaseTool
from crewai.tools.base_tool import Tool
from crewai.tools.structured_tool import CrewStructuredTool

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError, ActionDeniedError, AgentPausedError
from vaultak.integrations.plain import arguments_of
from vaultak.integrations.toolcall import OnBlock, ToolGuard, Undo


class StoppedError(BaseException):
    """Ends a run from inside a tool: crews take any `Exception` for a result. `kickoff` raises its cause instead."""


class Governed:
    """The crews of this program are governed until `close`, or the end of a `with` block. The last one made counts."""

    def __init__(self, guard: ToolGuard) -> None:
        self.guard = guard
        with _lock:
            _install()
            _governing.append(self)

    def close(self) -> None:
        """Idempotent."""
        with _lock:
            if self in _governing:
                _governing.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def govern(
    vt: Vaultak,
    agent_id: str = "default",
    *,
    undo: Mapping[str, Undo] | None = None,
    on_block: OnBlock = "tell",
    intercept: bool = True,
) -> Governed:
    """Judge each tool call of the program's crews and agents before the tool runs, delegation to coworkers included.

    The judgement is in the tools, not in CrewAI's hooks: those let a call pass when they fail, and some calls go past
    them. A blocked call is an error of the tool, which the model sees. Results from CrewAI's cache are no calls.
    Arguments: see `ToolGuard`.
    """
    return Governed(ToolGuard(vt, agent_id, undo=undo, on_block=on_block, intercept=intercept))


_lock = threading.Lock()
_governing: list[Governed] = []
_installed: list[bool] = []


def _install() -> None:
    if _installed:
        return
    _installed.append(True)
    for kind in (BaseTool, Tool):
        _wrap(kind, "run", _judged)
        _wrap(kind, "arun", _judged_async)
    _wrap(CrewStructuredTool, "invoke", _judged)
    _wrap(CrewStructuredTool, "ainvoke", _judged_async)
    for runs in (Crew, Agent):
        _wrap(runs, "kickoff", _ending)
        _wrap(runs, "akickoff", _ending_async)
    register_before_tool_call_hook(_asked)


def _wrap(kind: Any, name: str, make: Callable[[Any], Any]) -> None:
    original = kind.__dict__.get(name)
    if original is not None:
        setattr(kind, name, functools.wraps(original)(make(original)))


def _current() -> ToolGuard | None:
    return _governing[-1].guard if _governing else None


def _judged(original: Callable[..., Any]) -> Callable[..., Any]:
    def run(tool: Any, *given: Any, **named: Any) -> Any:
        guard = _current()
        if guard is None:
            return original(tool, *given, **named)
        try:
            return guard.call(tool.name, _arguments(tool, given, named), lambda: original(tool, *given, **named))
        except ActionDeniedError as e:
            return _answer(tool, guard, e)

    return run


def _judged_async(original: Callable[..., Any]) -> Callable[..., Any]:
    async def run(tool: Any, *given: Any, **named: Any) -> Any:
        guard = _current()
        if guard is None:
            return await original(tool, *given, **named)
        try:
            return await guard.call_async(
                tool.name, _arguments(tool, given, named), lambda: original(tool, *given, **named)
            )
        except ActionDeniedError as e:
            return _answer(tool, guard, e)

    return run


def _arguments(tool: Any, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if isinstance(tool, CrewStructuredTool):  # these get all in one, and their caller's fingerprint beside it
        return arguments_of(given[0] if given else named.get("input"))
    return {**named, **({"arguments": given} if given else {})}


def _answer(tool: Any, guard: ToolGuard, denial: ActionDeniedError) -> Any:
    if isinstance(denial, AgentPausedError) or guard.on_block == "raise":
        raise StoppedError(str(denial)) from denial
    assert isinstance(denial, ActionBlockedError)
    told = guard.refusal(denial)
    if isinstance(tool, CrewStructuredTool):
        return told  # what these raise is tried again, up to six times
    raise ActionBlockedError(told, action_id=denial.action_id, reasons=denial.reasons) from denial


def _ending(original: Callable[..., Any]) -> Callable[..., Any]:
    def kickoff(*given: Any, **named: Any) -> Any:
        try:
            return original(*given, **named)
        except StoppedError as e:
            raise _cause(e) from e

    return kickoff


def _ending_async(original: Callable[..., Any]) -> Callable[..., Any]:
    async def kickoff(*given: Any, **named: Any) -> Any:
        try:
            return await original(*given, **named)
        except StoppedError as e:
            raise _cause(e) from e

    return kickoff


def _cause(stop: StoppedError) -> BaseException:
    return stop.__cause__ or stop


def _asked(context: Any) -> None:
    guard = _current()
    if guard is not None and context.task is not None:
        guard.asked(context.task.description)
