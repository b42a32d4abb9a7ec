"""Google ADK: `Runner(agent=agent, plugins=[VaultakPlugin(vt, "my-agent")], ...)`."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from google.adk.plugins.base_plugin import BasePlugin

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError
from vaultak.integrations.toolcall import OnBlock, Running, ToolGuard, Undo

log = logging.getLogger("vaultak")

MAX_RUNNING = 4096
"""Calls whose end is awaited; the oldest is given up beyond that: its outcome stays unknown."""

Key = tuple[str, str]
Call = tuple[Running, contextlib.ExitStack]


class VaultakPlugin(BasePlugin):
    """Judges each tool call of a runner's agents before the tool runs, those of sub-agents included.

    Give it first in `plugins`, so that no other answers ahead of it. A blocked call answers with `{"error": ...}`.
    Tools that run at the provider (search, code execution) are none of the runner's. Arguments: see `ToolGuard`.
    """

    def __init__(
        self,
        vt: Vaultak,
        agent_id: str = "default",
        *,
        undo: Mapping[str, Undo] | None = None,
        on_block: OnBlock = "tell",
        intercept: bool = True,
    ) -> None:
        super().__init__(name="vaultak")
        self.guard = ToolGuard(vt, agent_id, undo=undo, on_block=on_block, intercept=intercept)
        self.given_up = 0
        """Calls whose end came too late to be awaited."""
        self._lock = threading.Lock()
        self._running: OrderedDict[Key, Call] = OrderedDict()

    async def on_user_message_callback(self, *, invocation_context: Any, user_message: Any) -> None:
        parts = getattr(user_message, "parts", None) or ()
        self.guard.asked("\n".join(text for part in parts if (text := getattr(part, "text", None))))

    async def before_tool_callback(
        self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any
    ) -> dict[str, Any] | None:
        with contextlib.ExitStack() as stack:
            try:
                session = stack.enter_context(self.guard.session())
                running = await self.guard.begin_async(tool.name, tool_args, session)
            except ActionBlockedError as e:
                return {"error": self.guard.refusal(e)}
            self._keep(_key(tool_context), (running, stack.pop_all()))
        return None

    async def after_tool_callback(
        self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any, result: Any
    ) -> None:
        if (call := self._take(_key(tool_context))) is not None:
            running, stack = call
            running.returned(result)
            _leave(stack)

    async def on_tool_error_callback(
        self, *, tool: Any, tool_args: dict[str, Any], tool_context: Any, error: BaseException
    ) -> dict[str, Any] | None:
        if (call := self._take(_key(tool_context))) is not None:
            running, stack = call
            running.failed(error)
            _leave(stack)
        return {"error": self.guard.refusal(error)} if isinstance(error, ActionBlockedError) else None

    def _keep(self, key: Key, call: Call) -> None:
        with self._lock:
            self._running[key] = call
            if len(self._running) > MAX_RUNNING:
                self._running.popitem(last=False)
                self.given_up += 1

    def _take(self, key: Key) -> Call | None:
        with self._lock:
            return self._running.pop(key, None)


def _key(tool_context: Any) -> Key:
    return str(tool_context.invocation_id), str(tool_context.function_call_id)


def _leave(stack: contextlib.ExitStack) -> None:
    try:
        stack.close()
    except ValueError as e:  # another task ends the call than began it: its session ends with the task that did
        log.debug("a tool call ended in another task: %s", e)
