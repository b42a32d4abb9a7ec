"""A framework's tool call as an action: judged before the tool runs, recorded after, undone on rollback.

The one seam between the adapters and the SDK. An adapter says which tool is called with what, and how to run it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, Literal, TypeVar

import msgspec

from vaultak import governor
from vaultak.client import Vaultak
from vaultak.errors import ActionBlockedError, ActionDeniedError, AgentKilledError, ConfigurationError
from vaultak.integrations.plain import content_of, plain
from vaultak.monitor import Monitor
from vaultak.wire import ActionType, ContextSource, OutcomeStatus, uuid7

log = logging.getLogger("vaultak")

T = TypeVar("T")
OnBlock = Literal["tell", "raise"]
ErrorOf = Callable[[Any], str] | None

MAX_ASKED = 1024
"""Requests remembered so that each is recorded once: frameworks show the whole conversation at every tool call."""

_STOPS = (ActionDeniedError, AgentKilledError)


class ToolCall(msgspec.Struct, frozen=True, eq=False):
    """A tool call that has run: what an undo function gets."""

    tool: str
    arguments: dict[str, Any]
    result: Any
    action_id: str
    agent_id: str


Undo = Callable[[ToolCall], object]


class ToolGuard:
    """Judges the tool calls of one agent of a framework.

    Inside `vt.monitor(agent_id)` that session governs; elsewhere each call runs in a session of the guard's own, so
    that what the tool *does* (files, network, processes) is judged as well, unless `intercept` is off. `undo` maps a
    tool's name to what takes its calls back, plain or coroutine. `on_block="tell"`: the model is told that a call was
    blocked and goes on; `"raise"`: the run ends with `ActionBlockedError`. A pause that nobody lifted
    (`AgentPausedError`) and a kill (`AgentKilledError`) always end it. What the guard itself cannot judge, for an error
    of its own, is blocked. Thread-safe; serves concurrent calls. Raises `ConfigurationError` for settings that cannot
    be used.
    """

    def __init__(
        self,
        vt: Vaultak,
        agent_id: str = "default",
        *,
        undo: Mapping[str, Undo] | None = None,
        on_block: OnBlock = "tell",
        intercept: bool = True,
        session_id: str | None = None,
        labels: dict[str, str] | None = None,
    ) -> None:
        if on_block not in ("tell", "raise"):
            raise ConfigurationError(f"on_block: `{on_block}` is unknown; use tell or raise")
        self.agent_id = agent_id
        self.on_block = on_block
        self.session_id = session_id or uuid7()
        self.errors = 0
        """Calls that were blocked for an error of the SDK's own."""
        self._undo = dict(undo or {})
        self._open = functools.partial(
            vt.monitor, agent_id, session_id=self.session_id, labels=labels, intercept=intercept
        )
        self._asked: OrderedDict[bytes, None] = OrderedDict()
        self._open()  # what cannot be used as an id is said here, not at the first call

    # -- whole calls -------------------------------------------------------------------------------------------

    def call(self, tool: str, arguments: object, run: Callable[[], T], error_of: ErrorOf = None) -> T:
        """Run a tool if it may. Raises what the tool raises, or the denial.

        `error_of` says what went wrong where the framework returns errors: empty when nothing did.
        """
        with self.session() as session, self.begin(tool, arguments, session) as running:
            return running.returned(run(), error_of)

    async def call_async(
        self, tool: str, arguments: object, run: Callable[[], Awaitable[T]], error_of: ErrorOf = None
    ) -> T:
        """As `call`; a pause leaves the event loop free."""
        with self.session() as session, await self.begin_async(tool, arguments, session) as running:
            return running.returned(await run(), error_of)

    # -- halves: for frameworks that run the tool elsewhere ----------------------------------------------------

    def begin(self, tool: str, arguments: object, session: governor.Governor | None = None) -> Running:
        """Judge a call that is about to run. Whoever runs it says how it ended. Raises the denial."""
        session, tool, payload = self._prepared(tool, arguments, session)
        try:
            action_id = session.before(ActionType.TOOL_CALL, f"tool:{tool}", payload, assurance="framework")
        except Exception as e:  # noqa: BLE001 - whatever it is, it is ours: the call is blocked
            raise self._denial(e, tool) from None
        return Running(self, session, action_id, tool, payload["arguments"])

    async def begin_async(self, tool: str, arguments: object, session: governor.Governor | None = None) -> Running:
        """As `begin`; a pause leaves the event loop free."""
        session, tool, payload = self._prepared(tool, arguments, session)
        try:
            action_id = await session.before_async(ActionType.TOOL_CALL, f"tool:{tool}", payload, assurance="framework")
        except Exception as e:  # noqa: BLE001 - whatever it is, it is ours: the call is blocked
            raise self._denial(e, tool) from None
        return Running(self, session, action_id, tool, payload["arguments"])

    def session(self) -> contextlib.AbstractContextManager[governor.Governor]:
        """What a call runs in: the monitor that is entered already, if it is this agent's, or one of its own."""
        current = governor.current()
        if current is not None and current.agent_id == self.agent_id:
            return contextlib.nullcontext(current)
        return self._open()

    # -- what the agent was asked ------------------------------------------------------------------------------

    def asked(self, request: object) -> None:
        """Record what the user asked for: each request once. Never raises."""
        try:
            content = request if isinstance(request, str) else content_of(request)
            key = sha256(content.encode("utf-8", "replace")).digest()
            if not content or key in self._asked:
                return
            self._asked[key] = None
            while len(self._asked) > MAX_ASKED:
                self._asked.popitem(last=False)
            current = governor.current()
            session = current if isinstance(current, Monitor) and current.agent_id == self.agent_id else self._open()
            session.context(content, ContextSource.USER)
        except Exception as e:
            log.exception("agent %r: a request could not be recorded: %s", self.agent_id, type(e).__name__)

    def refusal(self, denial: ActionBlockedError) -> str:
        """What the model is told of a blocked call; raises the denial where the run is to end."""
        if self.on_block == "raise":
            raise denial
        return f"Not allowed: {denial}. Do not try this again; go on without it or say that it was denied."

    def forbids(self, tool: str) -> bool:
        """Whether the limits, or the agent's state, stand against a tool whatever its arguments. Records nothing."""
        try:
            return self._open().forbids(ActionType.TOOL_CALL, f"tool:{tool}")
        except Exception as e:  # noqa: BLE001 - whatever it is, it is ours: the tool is not offered
            log.error("agent %r: tool %r could not be judged: %s", self.agent_id, tool, type(e).__name__)
            return True

    # -- inside ------------------------------------------------------------------------------------------------

    def _prepared(
        self, tool: str, arguments: object, session: governor.Governor | None
    ) -> tuple[governor.Governor, str, dict[str, Any]]:
        try:
            if session is None:
                current = governor.current()
                session = current if current is not None and current.agent_id == self.agent_id else self._open()
            tool = str(tool)
            shown = plain(arguments)
            return session, tool, {"tool": tool, "arguments": shown if isinstance(shown, dict) else {"value": shown}}
        except Exception as e:  # noqa: BLE001 - whatever it is, it is ours: the call is blocked
            raise self._denial(e, str(type(tool))) from None

    def _denial(self, error: Exception, tool: str) -> Exception:
        """What the caller gets: denials as they are; an error of ours as a block, logged and counted."""
        if isinstance(error, _STOPS):
            return error
        self.errors += 1
        log.error("agent %r: tool %r could not be judged, so it is blocked", self.agent_id, tool, exc_info=error)
        why = f"tool `{tool}` could not be judged ({type(error).__name__})"
        return ActionBlockedError(f"action blocked: {why}", reasons=(why,))

    def _remember(self, running: Running, result: object) -> None:
        undo, log_of_undo = self._undo.get(running.tool), running.session.undo
        if undo is None or log_of_undo is None:
            return
        call = ToolCall(running.tool, running.arguments, result, running.action_id, self.agent_id)
        log_of_undo.register(running.action_id, functools.partial(_undone, undo, call), f"undo of {running.tool}")


class Running:
    """A tool call under way. As a context manager it records an error that passes through."""

    def __init__(
        self, guard: ToolGuard, session: governor.Governor, action_id: str, tool: str, arguments: dict[str, Any]
    ) -> None:
        self.session = session
        self.action_id = action_id
        self.tool = tool
        self.arguments = arguments
        self._guard = guard
        self._start = time.perf_counter()
        self._over = False

    def returned(self, result: T, error_of: ErrorOf = None) -> T:
        """The tool returned: on record, with its undo. Never raises."""
        if error_of is not None and (error := _said(error_of, result)):
            self.failed(error)
        elif not self._over:
            try:
                self._guard._remember(self, result)
            except Exception as e:
                log.exception(
                    "agent %r: no undo for a call of %r: %s", self._guard.agent_id, self.tool, type(e).__name__
                )
            self._end(OutcomeStatus.OK, content=content_of(result))
        return result

    def failed(self, error: BaseException | str) -> None:
        """The tool failed, or what it did was denied. Never raises."""
        status = OutcomeStatus.DENIED if isinstance(error, _STOPS) else OutcomeStatus.ERROR
        self._end(status, error=error if isinstance(error, str) else f"{type(error).__name__}: {_text(error)}")

    def _end(self, status: OutcomeStatus, *, content: str = "", error: str = "") -> None:
        if self._over:
            return
        self._over = True
        duration_ms = (time.perf_counter() - self._start) * 1000
        self.session.after(self.action_id, status, content=content, error=error, duration_ms=duration_ms)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.failed(error)


def _said(error_of: Callable[[Any], str], result: object) -> str:
    try:
        return error_of(result)
    except Exception:  # noqa: BLE001 - the framework's result is not what it was: no reason to fail the tool
        return ""


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever a foreign `__str__` raises
        return ""


def _undone(undo: Undo, call: ToolCall) -> object:
    result = undo(call)
    return result if inspect.isawaitable(result) else None
