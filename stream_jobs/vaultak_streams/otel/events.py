"""From spans to events of the wire: a tool span is an action and its outcome, what a user asked a context."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from hashlib import sha256

from vaultak.spans import conventions
from vaultak.wire import ContextSource, OutcomeStatus, format_ts
from vaultak_streams.gateway.messages import ActionSent, ContextSent, OutcomeSent, Sent
from vaultak_streams.otel.spans import Span

LABELS = {"reported_by": "otlp"}
"""On each action: it was judged after it ran."""

MAX_RESOURCE_CHARS = 8192
MAX_ASKED = 20_000
MAX_AHEAD_NS = 3600 * 10**9
"""A clock further ahead is wrong: its times are not used."""

UNKNOWN_SESSION = "otlp"


class Translator:
    """Remembers what users asked, as every span of a model shows the whole conversation."""

    def __init__(self) -> None:
        self._asked: OrderedDict[bytes, None] = OrderedDict()

    def events(self, spans: Iterable[Span], default_agent: str) -> Iterator[Sent]:
        """The events of these spans, each action right before its outcome. `default_agent`: where a span names none.

        An action's id is made of the span's ids, so that an export that is sent again changes nothing.
        """
        for span in spans:
            agent_id = conventions.agent_of(span.attributes) or _service(span) or default_agent
            session_id = conventions.session_of(span.attributes) or span.trace_id or UNKNOWN_SESSION
            if not agent_id or agent_id == "*" or not agent_id.isprintable() or not session_id.isprintable():
                continue
            for text in conventions.asked(span.attributes):
                if self._is_new(agent_id, session_id, text):
                    yield ContextSent(
                        agent_id=agent_id,
                        session_id=session_id,
                        ts=_ts(span.start_ns),
                        source=ContextSource.USER,
                        content=text,
                    )
            if (tool := conventions.tool_span(span.name, span.attributes)) is not None:
                yield from _action(span, tool, agent_id, session_id)

    def _is_new(self, agent_id: str, session_id: str, text: str) -> bool:
        key = sha256(f"{agent_id}\x1f{session_id}\x1f{text}".encode("utf-8", "replace")).digest()
        if key in self._asked:
            return False
        self._asked[key] = None
        while len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)
        return True


def _action(span: Span, tool: conventions.ToolSpan, agent_id: str, session_id: str) -> Iterator[Sent]:
    action_id = f"otlp-{span.trace_id or '0'}-{span.span_id or '0'}"
    yield ActionSent(
        agent_id=agent_id,
        session_id=session_id,
        ts=_ts(span.start_ns),
        action_id=action_id,
        action_type=tool.action_type,
        resource=tool.resource[:MAX_RESOURCE_CHARS],
        payload=tool.payload,
        trace_id=span.trace_id if len(span.trace_id) == 32 else "",
        span_id=span.span_id if len(span.span_id) == 16 else "",
        labels=LABELS,
    )
    yield OutcomeSent(
        agent_id=agent_id,
        session_id=session_id,
        ts=_ts(span.end_ns),
        action_id=action_id,
        status=OutcomeStatus.ERROR if span.failed else OutcomeStatus.OK,
        duration_ms=max(0, span.end_ns - span.start_ns) / 1e6,
        content=conventions.result_of(span.attributes),
        error=(span.message or str(span.attributes.get("error.type", "")))[:4096] if span.failed else "",
    )


def _service(span: Span) -> str:
    return str(span.attributes.get("service.name", ""))[:256]


def _ts(ns: int) -> str | None:
    """The wire's time; `None`, which is now, for a span without one."""
    return format_ts(ns / 1e9) if 0 < ns < time.time_ns() + MAX_AHEAD_NS else None
