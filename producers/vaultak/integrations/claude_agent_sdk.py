"""Claude Agent SDK: `query(prompt="...", options=govern(ClaudeAgentOptions(...), vt, "my-agent"))`."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, HookMatcher

from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError, AgentKilledError, AgentPausedError
from vaultak.integrations.toolcall import OnBlock, Running, ToolGuard, Undo

log = logging.getLogger("vaultak")

MAX_RUNNING = 4096
"""Calls whose end is awaited; the oldest is given up beyond that: its outcome stays unknown."""
MARGIN_S = 30.0
"""A hook may take as long as a pause may last, and this much more: what takes longer counts as failed."""


def govern(
    options: ClaudeAgentOptions,
    vt: Vaultak,
    agent_id: str = "default",
    *,
    undo: Mapping[str, Undo] | None = None,
    on_block: OnBlock = "tell",
) -> ClaudeAgentOptions:
    """Options under which each tool call, built-in, MCP or a sub-agent's, is judged before it runs.

    The judgement comes as hooks, before those that the options have. A blocked call is denied and the model told why;
    with `on_block="raise"`, for a kill and for a pause that nobody lifted, the run stops. A hook that fails blocks the
    call. Tools run in the bundled program: what they do is judged by their arguments alone. Arguments: see `ToolGuard`.
    """
    hooks = _Hooks(ToolGuard(vt, agent_id, undo=undo, on_block=on_block), vt._pause_timeout_s + MARGIN_S)
    merged = {event: list(matchers) for event, matchers in (options.hooks or {}).items()}
    for event, matcher in hooks.matchers().items():
        merged[event] = [matcher, *merged.get(event, [])]
    return replace(options, hooks=merged)


class _Hooks:
    """The hooks of one agent. A call begins in one and ends in another, told apart by its id."""

    def __init__(self, guard: ToolGuard, timeout_s: float) -> None:
        self._guard = guard
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._running: OrderedDict[str, Running] = OrderedDict()
        self.given_up = 0
        """Calls whose end came too late to be awaited."""

    def matchers(self) -> dict[Any, HookMatcher]:
        closed = {"on_failure": "block"} if "on_failure" in {f.name for f in fields(HookMatcher)} else {}
        return {
            "UserPromptSubmit": HookMatcher(hooks=[self._asked]),
            "PreToolUse": HookMatcher(hooks=[self._before], timeout=self._timeout_s, **closed),
            "PostToolUse": HookMatcher(hooks=[self._returned]),
            "PostToolUseFailure": HookMatcher(hooks=[self._failed]),
        }

    async def _asked(self, event: Any, _id: str | None, _context: Any) -> dict[str, Any]:
        self._guard.asked(event.get("prompt", ""))
        return {}

    async def _before(self, event: Any, tool_use_id: str | None, _context: Any) -> dict[str, Any]:
        try:
            running = await self._guard.begin_async(event["tool_name"], event.get("tool_input") or {})
            self._keep(str(tool_use_id or event.get("tool_use_id")), running)
        except ActionBlockedError as e:
            with contextlib.suppress(ActionBlockedError):
                return _denied(self._guard.refusal(e))
            return _stopped(e)
        except (AgentPausedError, AgentKilledError) as e:
            return _stopped(e)
        except Exception as e:
            log.exception("agent %r: a tool call could not be judged, so it is blocked", self._guard.agent_id)
            return _denied(f"Not allowed: the call could not be judged ({type(e).__name__}).")
        return {}

    async def _returned(self, event: Any, tool_use_id: str | None, _context: Any) -> dict[str, Any]:
        running = self._take(str(tool_use_id or event.get("tool_use_id")))
        if running is not None:
            running.returned(event.get("tool_response"), _error_in)
        return {}

    async def _failed(self, event: Any, tool_use_id: str | None, _context: Any) -> dict[str, Any]:
        running = self._take(str(tool_use_id or event.get("tool_use_id")))
        if running is not None:
            running.failed(str(event.get("error", "")))
        return {}

    def _keep(self, tool_use_id: str, running: Running) -> None:
        with self._lock:
            self._running[tool_use_id] = running
            if len(self._running) > MAX_RUNNING:
                self._running.popitem(last=False)
                self.given_up += 1

    def _take(self, tool_use_id: str) -> Running | None:
        with self._lock:
            return self._running.pop(tool_use_id, None)


def _denied(why: str) -> dict[str, Any]:
    decision = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": why}
    return {"hookSpecificOutput": decision}


def _stopped(denial: BaseException) -> dict[str, Any]:
    why = f"Not allowed: {denial}."
    return {**_denied(why), "continue_": False, "stopReason": why}


def _error_in(response: Any) -> str:
    """Tools of an MCP server may return errors as results."""
    failed = isinstance(response, Mapping) and (response.get("isError") or response.get("is_error"))
    return str(response.get("content") or "error") if failed else ""
