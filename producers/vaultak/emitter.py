"""Events of one agent instance: numbered, chained by hash, encoded once, handed to the publisher in order."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from vaultak.redact import Redactor
from vaultak.wire import (
    GENESIS_HASH,
    SCHEMA_VERSION,
    Action,
    ActionType,
    Context,
    ContextSource,
    Local,
    Outcome,
    OutcomeStatus,
    ce_headers,
    format_ts,
)

PAYLOAD_LIMIT_BYTES = 16 * 1024
_PREVIEW_CHARS = 7 * 1024  # quoted once more inside JSON, it may double

E = TypeVar("E", Action, Outcome, Context)

_canonical = msgspec.json.Encoder(order="sorted").encode


class Publishes(Protocol):
    """Where events go. Never blocks for long, never raises."""

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None: ...


def new_instance() -> str:
    """A name for this process's run of an agent."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"


class Emitter:
    """Writes the events of one agent instance. Thread-safe; after a fork the child starts a chain of its own."""

    def __init__(self, agent_id: str, topic: str, publisher: Publishes, redactor: Redactor) -> None:
        self.agent_id = agent_id
        self._key = agent_id.encode()
        self._topic = topic
        self._publisher = publisher
        self._redactor = redactor
        self._source = f"/agents/{agent_id}"
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()  # a signal handler may act while its thread emits
        self._pid = os.getpid()
        self.instance = new_instance()
        self._seq = 0
        self._previous = GENESIS_HASH

    def action(
        self,
        action_id: str,
        session_id: str,
        now_s: float,
        action_type: ActionType,
        resource: str,
        payload: dict[str, Any],
        local: Local,
        *,
        labels: dict[str, str],
        assurance: str = "",
        parent_action_id: str = "",
    ) -> Action:
        clean, size, digest, cut = self._payload(payload)
        return self._send(
            "action",
            action_id,
            now_s,
            lambda chain: Action(
                **chain,
                session_id=session_id,
                action_id=action_id,
                action_type=action_type,
                resource=self._redactor.text(resource)[:8192],
                payload=clean,
                payload_bytes=size,
                payload_sha256=digest,
                payload_truncated=cut,
                parent_action_id=parent_action_id,
                labels=labels,
                local=local,
                assurance=assurance,
            ),
        )

    def outcome(
        self,
        action_id: str,
        session_id: str,
        now_s: float,
        status: OutcomeStatus,
        *,
        content: str = "",
        error: str = "",
        duration_ms: float | None = None,
    ) -> Outcome:
        content, cut = self._text(content)
        return self._send(
            "outcome",
            f"{action_id}:{status}",
            now_s,
            lambda chain: Outcome(
                **chain,
                session_id=session_id,
                action_id=action_id,
                status=status,
                duration_ms=msgspec.UNSET if duration_ms is None else max(0.0, duration_ms),
                content=content,
                content_truncated=cut,
                error=self._text(error)[0],
            ),
        )

    def context(self, context_id: str, session_id: str, now_s: float, source: ContextSource, content: str) -> Context:
        return self._send(
            "context",
            context_id,
            now_s,
            lambda chain: Context(**chain, session_id=session_id, source=source, content=self._text(content)[0]),
        )

    def _send(self, kind: str, event_id: str, now_s: float, make: Callable[[dict[str, Any]], E]) -> E:
        ts = format_ts(now_s)
        with self._lock:
            if self._pid != os.getpid():
                self._begin()
            event = make(
                {
                    "schema_version": SCHEMA_VERSION,
                    "agent_id": self.agent_id,
                    "instance": self.instance,
                    "ts": ts,
                    "seq": self._seq,
                    "prev_hash": self._previous,
                }
            )
            value = _canonical(event)
            digest = hashlib.sha256(value).hexdigest()
            self._seq += 1
            self._previous = digest
            # `hash` goes in last: its place does not matter, canonical JSON leaves it out
            value = b'%b,"hash":"%b"}' % (value[:-1], digest.encode())
            self._publisher.emit(self._topic, self._key, value, ce_headers(kind, event_id, self._source, ts))
        return event

    def _payload(self, payload: dict[str, Any]) -> tuple[dict[str, Any], int, str, bool]:
        clean = self._redactor.value(payload)
        text = _canonical(clean)
        digest = hashlib.sha256(text).hexdigest()
        if len(text) <= PAYLOAD_LIMIT_BYTES:
            return clean, len(text), digest, False
        return {"preview": text[:_PREVIEW_CHARS].decode(errors="ignore")}, len(text), digest, True

    def _text(self, text: str) -> tuple[str, bool]:
        text = self._redactor.text(text)
        if len(text) * 4 <= PAYLOAD_LIMIT_BYTES or len(text.encode(errors="replace")) <= PAYLOAD_LIMIT_BYTES:
            return text, False
        return text.encode(errors="replace")[:PAYLOAD_LIMIT_BYTES].decode(errors="ignore"), True
