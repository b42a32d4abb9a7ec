"""Fakes for the tests of programs that use Vaultak."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from vaultak.wire import Event, Topics, decode_event


class RecordingPublisher:
    """Keeps what would have been published: `Vaultak(publisher=RecordingPublisher())`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.messages: list[tuple[str, bytes, bytes, list[tuple[str, bytes]]]] = []

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        with self._lock:
            self.messages.append((topic, key, value, headers))

    def events(self, topic: str = Topics().actions) -> Sequence[Event]:
        """The events published on the actions topic, in order."""
        return [decode_event(value)[0] for where, _, value, _ in list(self.messages) if where == topic]

    def flush(self, timeout_s: float = 0.0) -> bool:
        return True

    def close(self, timeout_s: float = 0.0) -> None:
        return None
