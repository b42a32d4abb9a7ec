"""Events of one agent instance: numbered, chained by hash, encoded once, handed to the publisher in order.

An event is put together from its encoded members, in the order of their names: that is its canonical JSON, so one
encoding serves the hash and the wire. Tests hold the result to the structs of `vaultak.wire`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import threading
import weakref
from typing import Any

import msgspec

from vaultak.envelope import Publishes, envelope
from vaultak.redact import Redactor
from vaultak.wire import (
    GENESIS_HASH,
    SCHEMA_VERSION,
    ActionType,
    ContextSource,
    Local,
    OutcomeStatus,
    format_ts,
)

PAYLOAD_LIMIT_BYTES = 16 * 1024
RESOURCE_LIMIT_CHARS = 8192
REASON_LIMIT_CHARS = 1024
_PREVIEW_BYTES = 7 * 1024  # quoted once more inside JSON, it may double

_KEPT, _KEPT_CHARS, _KEPT_MEMBERS = 1024, 256, 4
"""Bounds of what is remembered in encoded form: entries, their length, the members of a payload."""

_canonical = msgspec.json.Encoder(order="sorted").encode
_sha256 = hashlib.sha256


def new_instance() -> str:
    """A name for this process's run of an agent."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"


class Emitter:
    """Writes the events of one agent instance. Thread-safe; after a fork the child starts a chain of its own.

    Each method returns the event's `ts`.
    """

    def __init__(self, agent_id: str, topic: str, publisher: Publishes, redactor: Redactor) -> None:
        self.agent_id = agent_id
        self._envelope = envelope(publisher, topic, agent_id)
        self._redactor = redactor
        self._agent_json = _canonical(agent_id)
        self._payloads: dict[tuple[tuple[str, str], ...], bytes] = {}
        self._resources: dict[str, bytes] = {}
        self._locals: dict[tuple[str, float, str], bytes] = {}
        self._sessions: dict[str, bytes] = {}
        self.begin()
        _LIVING.add(self)

    def begin(self) -> None:
        """Start a chain: a new instance, numbered from 0."""
        self._lock = threading.RLock()  # a signal handler may act while its thread emits
        self.instance = new_instance()
        self._instance_json = _canonical(self.instance)
        self._head = (0, GENESIS_HASH.encode())
        """The next number and the hash it follows: one reference, so that both change at once."""

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
    ) -> str:
        head = b'"action_id":"%b","action_type":"%b","agent_id":%b%b' % (
            action_id.encode(),
            action_type._value_.encode(),
            self._agent_json,
            _member(b"assurance", assurance) if assurance else b"",
        )
        middle = b'"kind":"action"%b,"local":%b%b,%b' % (
            b',"labels":' + _canonical(labels) if labels else b"",
            _canonical(self._shown(local)) if local.reasons else self._local(local),
            _member(b"parent_action_id", parent_action_id) if parent_action_id else b"",
            self._payload(payload),
        )
        tail = self._resources.get(resource) or self._resource(resource)
        return self._send(_ACTION, action_id, session_id, now_s, head, middle, tail, b"")

    def _local(self, local: Local) -> bytes:
        """A verdict without reasons: most are, and few differ."""
        key = (local.decision, local.risk, local.policy_version)
        return self._locals.get(key) or _keep(self._locals, key, _canonical(local))

    def _resource(self, resource: str) -> bytes:
        member = b'"resource":%b,' % _canonical(self._redactor.text(resource)[:RESOURCE_LIMIT_CHARS])
        if len(resource) <= _KEPT_CHARS:
            _keep(self._resources, resource, member)
        return member

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
    ) -> str:
        content, cut = self._text(content) if content else ("", False)
        head = b'"action_id":%b,"agent_id":%b%b%b%b%b' % (
            _canonical(action_id),
            self._agent_json,
            _member(b"content", content),
            b',"content_truncated":true' if cut else b"",
            b"" if duration_ms is None else b',"duration_ms":' + _canonical(max(0.0, float(duration_ms))),
            _member(b"error", self._text(error)[0]) if error else b"",
        )
        last = b',"status":"%b"' % status._value_.encode()
        event_id = f"{action_id}:{status._value_}"
        return self._send(_OUTCOME, event_id, session_id, now_s, head, b'"kind":"outcome"', b"", last)

    def context(self, context_id: str, session_id: str, now_s: float, source: ContextSource, content: str) -> str:
        head = b'"agent_id":%b,"content":%b' % (self._agent_json, _canonical(self._text(content)[0]))
        last = b',"source":"%b"' % source.encode()
        return self._send(_CONTEXT, context_id, session_id, now_s, head, b'"kind":"context"', b"", last)

    def _send(
        self,
        kind: str,
        event_id: str,
        session_id: str,
        now_s: float,
        head: bytes,
        middle: bytes,
        tail: bytes,
        last: bytes,
    ) -> str:
        """Number, chain and publish: `head` ends before `instance`, `middle` before `prev_hash`, `tail` before
        `schema_version` and with a comma, `last` before `ts`."""
        ts = format_ts(now_s)
        ts_bytes = ts.encode()
        session = self._sessions.get(session_id) or _keep(self._sessions, session_id, _canonical(session_id))
        id_bytes = event_id.encode()
        with self._lock:
            while True:
                before = self._head
                seq, previous = before
                message, digest = self._envelope.seal(
                    kind, id_bytes, ts_bytes,
                    _BEGIN, head, _INSTANCE, self._instance_json, _NEXT, middle, _PREV_HASH, previous, _QUOTE, tail,
                    _SEQ, b"%d" % seq, _SESSION, session, last, _TS, ts_bytes, _LAST_QUOTE,
                )  # fmt: skip
                after = (seq + 1, digest)
                # A signal handler or a finalizer on this very thread may have emitted meanwhile: take the next number.
                if self._head is before:
                    self._head = after
                    break
            self._envelope.send(message)
        return ts

    def _payload(self, payload: dict[str, Any]) -> bytes:
        """The redacted payload as members: JSON (a preview when it is too long), full size and digest."""
        if not payload:
            return _EMPTY_PAYLOAD
        small = _small(payload)
        if small is not None and (known := self._payloads.get(small)) is not None:
            return known
        clean = self._redactor.value(payload)
        text = _canonical(clean if type(clean) is dict else {"value": clean})
        size, digest, cut = len(text), _sha256(text).hexdigest().encode(), b""
        if size > PAYLOAD_LIMIT_BYTES:
            text, cut = _canonical({"preview": text[:_PREVIEW_BYTES].decode(errors="ignore")}), _TRUNCATED
        members = b'"payload":%b,"payload_bytes":%d,"payload_sha256":"%b"%b' % (text, size, digest, cut)
        return members if small is None else _keep(self._payloads, small, members)

    def _shown(self, local: Local) -> Local:
        """The verdict as it may leave the process: its reasons quote resources."""
        reasons = tuple(self._redactor.text(reason)[:REASON_LIMIT_CHARS] for reason in local.reasons)
        return Local(local.decision, local.risk, reasons, local.policy_version)

    def _text(self, text: str) -> tuple[str, bool]:
        """The redacted text, cut to the limit, and whether it was cut."""
        text = self._redactor.text(text)
        if len(text) * 4 <= PAYLOAD_LIMIT_BYTES or len(text.encode(errors="replace")) <= PAYLOAD_LIMIT_BYTES:
            return text, False
        return text.encode(errors="replace")[:PAYLOAD_LIMIT_BYTES].decode(errors="ignore"), True


def _small(payload: dict[str, Any]) -> tuple[tuple[str, str], ...] | None:
    """A payload of few short texts as a key: interceptors send the same ones over and over. `None` for any other."""
    if type(payload) is not dict or len(payload) > _KEPT_MEMBERS:
        return None
    for name, value in payload.items():
        if type(name) is not str or type(value) is not str or len(value) > _KEPT_CHARS or len(name) > _KEPT_CHARS:
            return None
    return tuple(payload.items())


def _keep(cache: dict[Any, bytes], key: Any, value: bytes) -> bytes:
    if len(cache) >= _KEPT:
        cache.clear()
    cache[key] = value
    return value


_BEGIN, _INSTANCE, _NEXT, _PREV_HASH, _QUOTE = b"{", b',"instance":', b",", b',"prev_hash":"', b'",'
_SEQ = b'"schema_version":%d,"seq":' % SCHEMA_VERSION
_SESSION, _TS, _LAST_QUOTE = b',"session_id":', b',"ts":"', b'"'
_EMPTY_PAYLOAD = b'"payload":{},"payload_bytes":2,"payload_sha256":"%b"' % _sha256(b"{}").hexdigest().encode()
_TRUNCATED = b',"payload_truncated":true'
_ACTION = "vaultak.action.v1"
_OUTCOME = "vaultak.outcome.v1"
_CONTEXT = "vaultak.context.v1"


def _member(name: bytes, value: str) -> bytes:
    return b',"%b":%b' % (name, _canonical(value)) if value else b""


_LIVING: weakref.WeakSet[Emitter] = weakref.WeakSet()


def _after_fork() -> None:
    for emitter in list(_LIVING):
        emitter.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
