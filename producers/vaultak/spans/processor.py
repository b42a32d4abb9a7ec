"""A span processor for the OpenTelemetry SDK: tool spans are actions, and carry the verdict as an event."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from hashlib import sha256
from typing import Literal

from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import StatusCode

from vaultak.client import Vaultak
from vaultak.emitter import Span as Place
from vaultak.errors import ActionBlockedError, ActionDeniedError, AgentKilledError, AgentPausedError, ConfigurationError
from vaultak.monitor import Monitor
from vaultak.spans import conventions
from vaultak.wire import SEVERITY, Decision, OutcomeStatus

log = logging.getLogger("vaultak")

OnBlock = Literal["mark", "raise"]

MAX_OPEN = 10_000
"""Tool spans under way. Beyond it the outcome of the oldest is not recorded, and counted."""

MAX_SESSIONS = 1_000
MAX_ASKED = 4_096

EVENT = "vaultak.verdict"

_PAUSE = SEVERITY[Decision.PAUSE]


class VaultakSpanProcessor(SpanProcessor):
    """Makes actions of tool spans, whatever library writes them: `provider.add_span_processor(...)`.

    A span that says at its start that it is a tool's (`gen_ai.operation.name`, `gen_ai.tool.name`) is judged then. With
    `on_block="raise"` a denial is raised there: the tool does not run where the library opens the span around it and
    lets errors pass; a paused agent waits, and what cannot be judged is denied. With `"mark"` nothing is held up. A
    span that says so only at its end is recorded then: too late to stop that one. `agent_id` is for spans that name no
    agent. Verdicts are span events `vaultak.verdict`. A failure in here never reaches the program, a denial with
    `"raise"` does. Thread-safe.
    """

    def __init__(self, vt: Vaultak, agent_id: str = "default", *, on_block: OnBlock = "mark") -> None:
        if on_block not in ("mark", "raise"):
            raise ConfigurationError(f"on_block: `{on_block}` is unknown; use mark or raise")
        self._vt, self._agent_id, self._raises = vt, agent_id, on_block == "raise"
        self._lock = threading.Lock()
        self._open: OrderedDict[Place, tuple[Monitor, str]] = OrderedDict()
        self._sessions: OrderedDict[tuple[str, str], Monitor] = OrderedDict()
        self._asked: OrderedDict[bytes, None] = OrderedDict()
        self.errors = 0
        """Spans that were not recorded for an error of the SDK's own."""
        self.forgotten = 0
        """Actions whose outcome is not recorded: too many spans were under way."""

    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        """Judge a tool span. Raises the denial with `on_block="raise"`, and nothing else."""
        tool: conventions.ToolSpan | None = None
        try:
            tool = conventions.tool_span(span.name, span.attributes or {})
            if tool is not None:
                self._judge(span, tool)
            return
        except (ActionDeniedError, AgentKilledError) as denial:
            _mark_denied(span, denial)
            raise
        except Exception as e:
            self.errors += 1
            log.exception("span %r could not be recorded", span.name)
            why = f"tool `{span.name[:200]}` could not be judged ({type(e).__name__})"
        if tool is not None and self._raises:
            blocked = ActionBlockedError(f"action blocked: {why}", reasons=(why,))
            _mark_denied(span, blocked)
            raise blocked

    def on_end(self, span: ReadableSpan) -> None:
        """Record what came of a tool, or what a user asked. Never raises."""
        try:
            attributes = span.attributes or {}
            with self._lock:
                known = self._open.pop(_place(span), None)
            if known is None:
                known = self._late(span, attributes)
            if known is not None:
                monitor, action_id = known
                failed = span.status.status_code is StatusCode.ERROR
                monitor.after(
                    action_id,
                    OutcomeStatus.ERROR if failed else OutcomeStatus.OK,
                    content=conventions.result_of(attributes),
                    error=(span.status.description or str(attributes.get("error.type", ""))) if failed else "",
                    duration_ms=((span.end_time or 0) - (span.start_time or 0)) / 1e6,
                )
            for text in conventions.asked(attributes):
                self._ask(attributes, text)
        except Exception:
            self.errors += 1
            log.exception("span %r could not be recorded", span.name)

    def _judge(self, span: Span, tool: conventions.ToolSpan) -> None:
        monitor = self._session(span.attributes or {})
        judged = monitor.traced(tool.action_type, tool.resource, tool.payload, _place(span), enforce=self._raises)
        verdict, action_id = judged.verdict, judged.action_id
        # A denial would have been raised: whoever held the action has let it go.
        decision = Decision.ALLOW if self._raises and SEVERITY[verdict.decision] >= _PAUSE else verdict.decision
        span.add_event(
            EVENT,
            {
                "vaultak.action.id": action_id,
                "vaultak.decision": decision.value,
                "vaultak.risk": verdict.risk,
                "vaultak.reasons": list(verdict.reasons),
                "vaultak.rules": list(verdict.rules),
            },
        )
        with self._lock:
            self._open[_place(span)] = monitor, action_id
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
                self.forgotten += 1

    def _late(self, span: ReadableSpan, attributes: conventions.Attributes) -> tuple[Monitor, str] | None:
        """A span that did not say at its start what it is. One that was denied there is on record already."""
        tool = conventions.tool_span(span.name, attributes)
        if tool is None or any(event.name == EVENT for event in span.events):
            return None
        monitor = self._session(attributes)
        judged = monitor.traced(tool.action_type, tool.resource, tool.payload, _place(span), enforce=False)
        return monitor, judged.action_id

    def _session(self, attributes: conventions.Attributes) -> Monitor:
        agent_id = conventions.agent_of(attributes) or self._agent_id
        session_id = conventions.session_of(attributes)
        with self._lock:
            monitor = self._sessions.get((agent_id, session_id))
            if monitor is None:
                monitor = self._vt.monitor(agent_id, session_id=session_id or None, intercept=False)
                self._sessions[agent_id, session_id] = monitor
                while len(self._sessions) > MAX_SESSIONS:
                    self._sessions.popitem(last=False)
            self._sessions.move_to_end((agent_id, session_id))
            return monitor

    def _ask(self, attributes: conventions.Attributes, text: str) -> None:
        """Each request once: every span of a model shows the whole conversation."""
        monitor = self._session(attributes)
        key = sha256(f"{monitor.agent_id}\x1f{monitor.session_id}\x1f{text}".encode("utf-8", "replace")).digest()
        with self._lock:
            if key in self._asked:
                return
            self._asked[key] = None
            while len(self._asked) > MAX_ASKED:
                self._asked.popitem(last=False)
        monitor.context(text)

    def shutdown(self) -> None:
        """Nothing of its own is open: the client is closed by whoever made it."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Whether everything recorded so far was delivered in time."""
        return self._vt.flush(timeout_millis / 1000)


def _mark_denied(span: Span, denial: ActionDeniedError | AgentKilledError) -> None:
    decision = Decision.PAUSE if isinstance(denial, AgentPausedError) else Decision.BLOCK
    if isinstance(denial, AgentKilledError):
        decision = Decision.KILL
    span.add_event(
        EVENT,
        {
            "vaultak.action.id": denial.action_id,
            "vaultak.decision": decision.value,
            "vaultak.reasons": list(denial.reasons),
        },
    )
    span.set_status(StatusCode.ERROR, str(denial)[:300])
    span.end()


def _place(span: ReadableSpan) -> Place:
    context = span.get_span_context()
    return Place("", "") if context is None else Place(f"{context.trace_id:032x}", f"{context.span_id:016x}")
