"""Events of one agent instance: their members encoded once, in the order of their names, handed to its chain.

That is canonical JSON, so one encoding serves the hash and the wire. Tests hold the result to the structs of
`vaultak.wire`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import weakref
from typing import Any, NamedTuple, TypeVar

import msgspec

from vaultak.chain import Publishes, Write, start_chain
from vaultak.redact import Redactor
from vaultak.wire import (
    SCHEMA_VERSION,
    ActionType,
    ContextSource,
    Local,
    OutcomeStatus,
)

T = TypeVar("T")

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


class Span(NamedTuple):
    """Where an action belongs in a trace: ids in hex, as W3C Trace Context and OpenTelemetry write them."""

    trace_id: str
    span_id: str


class Emitter:
    """Writes the events of one agent instance. Thread-safe; after a fork the child starts a chain of its own.

    Each method returns the event's `ts`.
    """

    def __init__(self, agent_id: str, topic: str, publisher: Publishes, redactor: Redactor) -> None:
        self.agent_id = agent_id
        self._publisher, self._topic = publisher, topic
        self._redactor = redactor
        self._agent_json = _canonical(agent_id)
        self._agent_head = b',"agent_id":' + self._agent_json
        self._payloads: dict[tuple[tuple[str, str], ...], bytes] = {}
        self._resources: dict[str, bytes] = {}
        self._sessions: dict[str, bytes] = {}
        self.begin()
        _LIVING.add(self)

    def begin(self) -> None:
        """Start a chain: a new instance, numbered from 0."""
        self.instance = new_instance()
        self._instance = b',"instance":' + _canonical(self.instance)
        self.chain = start_chain(self._publisher, self._topic, self.agent_id)
        self._heads: dict[tuple[str, str, str, float, str], bytes] = {}
        self._outcomes: dict[tuple[str, OutcomeStatus], Write] = {}

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
        span: Span | None = None,
    ) -> str:
        """`action_id`: characters that JSON shows as they are, as those of `uuid7`."""
        write, head = self.prepared(
            session_id, action_type, resource, payload, local, labels, assurance, parent_action_id, span
        )
        return write(action_id, now_s, head)

    def prepared(
        self,
        session_id: str,
        action_type: ActionType,
        resource: str,
        payload: dict[str, Any],
        local: Local,
        labels: dict[str, str],
        assurance: str = "",
        parent_action_id: str = "",
        span: Span | None = None,
    ) -> tuple[Write, bytes]:
        """How to write an action's event, over and over, and its head."""
        if labels or parent_action_id or local.reasons:
            head = self._head(action_type, assurance, local, labels, parent_action_id)
        else:
            # Most verdicts give no reasons, and few differ.
            key = (action_type._value_, assurance, local.decision, local.risk, local.policy_version)
            head = self._heads.get(key) or _keep(self._heads, key, self._head(action_type, assurance, local, {}, ""))
        tail = self._resources.get(resource) or self._resource(resource)
        last = self._sessions.get(session_id) or self._session(session_id)
        if span is not None:
            members = _member(b"span_id", span.span_id) + _member(b"trace_id", span.trace_id)
            last = b',"session_id":%b%b,"ts":"' % (_canonical(session_id), members)
        return self.chain.bind(_ACTION, True, b"", self._payload(payload), tail, last), head

    def _head(
        self, action_type: ActionType, assurance: str, local: Local, labels: dict[str, str], parent_action_id: str
    ) -> bytes:
        return b',"action_type":"%b","agent_id":%b%b%b,"kind":"action"%b,"local":%b%b,' % (
            action_type._value_.encode(),
            self._agent_json,
            _member(b"assurance", assurance),
            self._instance,
            b',"labels":' + _canonical(labels) if labels else b"",
            _canonical(self._shown(local)),
            _member(b"parent_action_id", parent_action_id),
        )

    def _resource(self, resource: str) -> bytes:
        text = _canonical(self._redactor.text(resource)[:RESOURCE_LIMIT_CHARS])
        member = b'","resource":%b,%b' % (text, _SEQ)
        return _keep(self._resources, resource, member) if len(resource) <= _KEPT_CHARS else member

    def _session(self, session_id: str) -> bytes:
        return _keep(self._sessions, session_id, b',"session_id":%b,"ts":"' % _canonical(session_id))

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
        head = self._agent_head
        if content:
            content, cut = self._text(content)
            head += _member(b"content", content) + (b',"content_truncated":true' if cut else b"")
        if duration_ms is not None:
            head += b',"duration_ms":' + _canonical(max(0.0, float(duration_ms)))
        if error:
            head += _member(b"error", self._text(error)[0])
        write = self._outcomes.get((session_id, status)) or self._outcome(session_id, status)
        return write(action_id, now_s, head)

    def _outcome(self, session_id: str, status: OutcomeStatus) -> Write:
        word = status._value_.encode()
        last = b',"session_id":%b,"status":"%b","ts":"' % (_canonical(session_id), word)
        middle = b'%b,"kind":"outcome","prev_hash":"' % self._instance
        return _keep(
            self._outcomes,
            (session_id, status),
            self.chain.bind(_OUTCOME, True, b":" + word, middle, _OUTCOME_SEQ, last),
        )

    def context(self, context_id: str, session_id: str, now_s: float, source: ContextSource, content: str) -> str:
        head = b'{"agent_id":%b,"content":%b' % (self._agent_json, _canonical(self._text(content)[0]))
        middle = b'%b,"kind":"context","prev_hash":"' % self._instance
        last = b',"session_id":%b,"source":"%b","ts":"' % (_canonical(session_id), source.encode())
        return self.chain.bind(_CONTEXT, False, b"", middle, _OUTCOME_SEQ, last)(context_id, now_s, head)

    def _payload(self, payload: dict[str, Any]) -> bytes:
        """The redacted payload as members: JSON (a preview when it is too long), full size and digest.

        What follows them comes along: the name of the hash before."""
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
        members = b'"payload":%b,"payload_bytes":%d,"payload_sha256":"%b"%b,"prev_hash":"' % (
            text,
            size,
            digest,
            cut,
        )
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


def _keep(cache: dict[Any, T], key: Any, value: T) -> T:
    if len(cache) >= _KEPT:
        cache.clear()
    cache[key] = value
    return value


_SEQ = b'"schema_version":%d,"seq":' % SCHEMA_VERSION
_OUTCOME_SEQ = b'",' + _SEQ
_EMPTY_PAYLOAD = (
    b'"payload":{},"payload_bytes":2,"payload_sha256":"%b","prev_hash":"' % _sha256(b"{}").hexdigest().encode()
)
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
