"""From an event's encoded members to what the publisher takes: numbered, chained by hash, under CloudEvents headers.

An event is canonical JSON put together from its members in the order of their names; `hash` goes in last: its place
does not matter, canonical JSON leaves it out. Two ways with the same result: in Python, for every publisher; and by
the compiled core, for one whose spool it can write to by itself.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

import msgspec

from vaultak._native import core
from vaultak.wire import CONTENT_TYPE_JSON, GENESIS_HASH, format_ts

_sha256 = hashlib.sha256
_pack = msgspec.msgpack.Encoder().encode
_text = msgspec.json.Encoder().encode

_SPEC_VERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", CONTENT_TYPE_JSON.encode())
_ARRAY_OF_4, _ARRAY_OF_6, _PAIR = b"\x94", b"\x96", b"\x92"
_ACTION_ID = b'{"action_id":'
_HASH = b',"hash":"'
_CLOSING_BYTES = len(_HASH) + 64 + len(b'"}')
_BIN_16, _BIN_32 = 1 << 8, 1 << 16
"""From how many bytes on MessagePack gives the length in two and in four."""


class Publishes(Protocol):
    """Where events go. Never blocks for long, never raises."""

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None: ...


Write = Callable[[str, float, bytes], str]
"""`event_id`, `now_s`, `head` -> `ts`: what is left of `Chain.write` once the rest is bound."""


_Send = Callable[[bytes, bytes, bytes, bytes], None]
"""CloudEvents id, time, the event without its last brace, its hash."""


class Chain(Protocol):
    """The events of one agent instance, one after the other. Thread-safe."""

    def bind(self, kind: str, opens: bool, suffix: bytes, middle: bytes, tail: bytes, last: bytes) -> Write:
        """How to number, chain and publish events that differ in no more than their id, their time and their head.

        `kind` is their CloudEvents type, the id and `suffix` make their CloudEvents id. Their JSON is the member
        `action_id` if it `opens` with that, the head, `middle`, the hash before, `tail`, the number, `last`, the time.
        """
        ...


def start_chain(publisher: Publishes, topic: str, agent_id: str) -> Chain:
    """The fastest one that the publisher can take. Numbered from 0."""
    if hasattr(core, "Chain") and hasattr(publisher, "tape"):
        return CompiledChain(publisher, topic, agent_id)
    return PlainChain(publisher, topic, agent_id)


def _source(agent_id: str) -> tuple[str, bytes]:
    return "ce_source", f"/agents/{agent_id}".encode()


def _addressed(topic: str, key: bytes) -> bytes:
    """The begin of a message as the spool holds it."""
    return _ARRAY_OF_4 + _pack(topic) + _pack(key)


def _names(kind: str, source: tuple[str, bytes]) -> tuple[bytes, bytes, bytes]:
    """The headers as the spool holds them, around the id and around the time."""
    ahead = _ARRAY_OF_6 + _pack(_SPEC_VERSION) + _PAIR + _pack("ce_id")
    between = _pack(("ce_type", kind.encode())) + _pack(source) + _PAIR + _pack("ce_time")
    return ahead, between, _pack(_CONTENT_TYPE)


class PlainChain:
    """In Python."""

    def __init__(self, publisher: Publishes, topic: str, agent_id: str) -> None:
        self._emit = publisher.emit
        self._emit_body: Callable[[bytes], None] | None = getattr(publisher, "emit_body", None)
        self._topic = topic
        self._key = agent_id.encode()
        self._source = _source(agent_id)
        self._senders: dict[str, _Send] = {}
        self._lock = threading.RLock()  # a signal handler may act while its thread emits
        self._head = (0, GENESIS_HASH.encode())
        """The next number and the hash it follows: one reference, so that both change at once."""

    def bind(self, kind: str, opens: bool, suffix: bytes, middle: bytes, tail: bytes, last: bytes) -> Write:
        # A closure, not a `partial`: calls from Python to Python are the cheapest there are.
        lock, send = self._lock, self._senders.get(kind) or self._sender(kind)

        def write(event_id: str, now_s: float, head: bytes) -> str:
            ts = format_ts(now_s)
            moment = ts.encode()
            opening = _ACTION_ID + _text(event_id) if opens else b""
            with lock:
                while True:
                    before = self._head
                    seq, previous = before
                    event = b"".join((opening, head, middle, previous, tail, b"%d" % seq, last, moment, b'"'))
                    digest = _digest(event)
                    after = (seq + 1, digest)
                    # A signal handler or a finalizer on this very thread may have emitted meanwhile: take the next.
                    if self._head is before:
                        self._head = after
                        break
                send(event_id.encode() + suffix, moment, event, digest)
            return ts

        return write

    def _sender(self, kind: str) -> _Send:
        """What hands events of one kind to the publisher."""
        send = self._encoding(kind) if self._emit_body is not None else partial(self._send, kind.encode())
        return self._senders.setdefault(kind, send)

    def _send(self, kind: bytes, ce_id: bytes, moment: bytes, event: bytes, digest: bytes) -> None:
        ids = ("ce_id", ce_id), ("ce_type", kind), self._source, ("ce_time", moment)
        value = b'%b,"hash":"%b"}' % (event, digest)
        self._emit(self._topic, self._key, value, [_SPEC_VERSION, *ids, _CONTENT_TYPE])

    def _encoding(self, kind: str) -> _Send:
        """As the spool holds it, in one piece."""
        emit_body = self._emit_body
        assert emit_body is not None
        addressed = _addressed(self._topic, self._key)
        ahead, between, behind = _names(kind, self._source)
        ahead = b'"}' + ahead

        def send(ce_id: bytes, moment: bytes, event: bytes, digest: bytes) -> None:
            size = len(event) + _CLOSING_BYTES
            sized = b"\xc5" + size.to_bytes(2, "big") if _BIN_16 <= size < _BIN_32 else _pack(bytes(size))[:-size]
            parts = (addressed, sized, event, _HASH, digest, ahead, _pack(ce_id), between, _pack(moment), behind)
            emit_body(b"".join(parts))

        return send


def _digest(event: bytes) -> bytes:
    """The hash of an event that lacks its last brace, in hex."""
    return _sha256(event + b"}").hexdigest().encode()


class CompiledChain:
    """By the compiled core: one call from members to a frame in the spool."""

    def __init__(self, publisher: Any, topic: str, agent_id: str) -> None:
        assert core is not None
        self._emit_body = publisher.emit_body
        self._chain = core.Chain(_addressed(topic, agent_id.encode()), publisher.tape, self._write_slowly)
        self._source = _source(agent_id)
        self._named: dict[str, tuple[bytes, bytes, bytes]] = {}
        self._lock = threading.RLock()

    def bind(self, kind: str, opens: bool, suffix: bytes, middle: bytes, tail: bytes, last: bytes) -> Write:
        names = self._named.get(kind) or self._named.setdefault(kind, _names(kind, self._source))
        return partial(self._chain.write, names, opens, suffix, middle, tail, last)

    def _write_slowly(
        self,
        names: tuple[bytes, bytes, bytes],
        opens: bool,
        suffix: bytes,
        middle: bytes,
        tail: bytes,
        last: bytes,
        event_id: str,
        now_s: float,
        head: bytes,
    ) -> str:
        """When the segment is full or there is none, or the id is an unusual one: through the publisher, in order."""
        if not _plain(event_id):
            head = _ACTION_ID + _text(event_id) + head if opens else head
            event_id, suffix, opens = "", event_id.encode() + suffix, False
        with self._lock:
            self._chain.held += 1
            try:
                sealed = self._chain.seal(names, opens, suffix, middle, tail, last, event_id, now_s, head)
                message, ts = cast(tuple[bytes, str], sealed)
                self._emit_body(message)
            finally:
                self._chain.held -= 1
        return ts


def _plain(event_id: str) -> bool:
    """Whether JSON shows it as it is."""
    return event_id.isascii() and _text(event_id) == b'"%b"' % event_id.encode()
