"""From an event's encoded members to what the publisher takes: sealed with its hash, under CloudEvents headers.

Two ways with the same result: in Python, for every publisher; and by the compiled core, for one that takes messages
already encoded (`emit_body`).
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import msgspec

from vaultak._native import core
from vaultak.wire import CONTENT_TYPE_JSON

_sha256 = hashlib.sha256
_pack = msgspec.msgpack.Encoder().encode

_SPEC_VERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", CONTENT_TYPE_JSON.encode())
_ARRAY_OF_4, _ARRAY_OF_6, _PAIR = b"\x94", b"\x96", b"\x92"


class Publishes(Protocol):
    """Where events go. Never blocks for long, never raises."""

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None: ...


class Envelope(Protocol):
    """Puts the events of one agent instance into messages."""

    def seal(self, kind: str, event_id: bytes, ts: bytes, *parts: bytes) -> tuple[Any, bytes]:
        """The message, and the event's hash (hex).

        Joined, `parts` are the event's canonical JSON but for its last brace; `kind` is its CloudEvents type.
        """
        ...

    def send(self, message: Any) -> None:
        """Hand over what `seal` made."""
        ...


def envelope(publisher: Publishes, topic: str, agent_id: str) -> Envelope:
    """The fastest one that the publisher can take."""
    if hasattr(core, "write") and hasattr(publisher, "emit_body"):
        return CompiledEnvelope(publisher, topic, agent_id)
    return PlainEnvelope(publisher, topic, agent_id)


def seal_in_python(*parts: bytes) -> tuple[bytes, bytes]:
    """The event with its hash, and the hash.

    `hash` goes in last: its place does not matter, canonical JSON leaves it out.
    """
    event = b"".join(parts)
    digest = _sha256(event + b"}").hexdigest().encode()
    return b'%b,"hash":"%b"}' % (event, digest), digest


_seal = getattr(core, "seal", seal_in_python)


def _source(agent_id: str) -> tuple[str, bytes]:
    return "ce_source", f"/agents/{agent_id}".encode()


class PlainEnvelope:
    """In Python."""

    def __init__(self, publisher: Publishes, topic: str, agent_id: str) -> None:
        self._emit = publisher.emit
        self._topic = topic
        self._key = agent_id.encode()
        self._source = _source(agent_id)

    def seal(self, kind: str, event_id: bytes, ts: bytes, *parts: bytes) -> tuple[Any, bytes]:
        value, digest = _seal(*parts)
        ids = ("ce_id", event_id), ("ce_type", kind.encode()), self._source, ("ce_time", ts)
        return (value, [_SPEC_VERSION, *ids, _CONTENT_TYPE]), digest

    def send(self, message: tuple[bytes, list[tuple[str, bytes]]]) -> None:
        self._emit(self._topic, self._key, *message)


class CompiledEnvelope:
    """By the compiled core: one call from members to encoded message."""

    def __init__(self, publisher: Any, topic: str, agent_id: str) -> None:
        assert core is not None
        self.send = publisher.emit_body
        self._write = core.write
        self._before = _ARRAY_OF_4 + _pack(topic) + _pack(agent_id.encode())
        self._source = _pack(_source(agent_id))
        self._names: dict[str, tuple[bytes, bytes, bytes]] = {}

    def seal(self, kind: str, event_id: bytes, ts: bytes, *parts: bytes) -> tuple[bytes, bytes]:
        names = self._names.get(kind) or self._named(kind)
        sealed: tuple[bytes, bytes] = self._write(self._before, names, event_id, ts, *parts)
        return sealed

    def _named(self, kind: str) -> tuple[bytes, bytes, bytes]:
        """The headers as encoded, around the id and around the time."""
        ahead = _ARRAY_OF_6 + _pack(_SPEC_VERSION) + _PAIR + _pack("ce_id")
        between = _pack(("ce_type", kind.encode())) + self._source + _PAIR + _pack("ce_time")
        self._names[kind] = (ahead, between, _pack(_CONTENT_TYPE))
        return self._names[kind]
