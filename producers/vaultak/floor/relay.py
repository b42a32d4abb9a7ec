"""What the supervisor tells the process that started it, in order and without ever waiting for it.

Waiting could be a deadlock: the other process may be stopped in a system call, holding its interpreter's lock, until
the supervisor answers.
"""

from __future__ import annotations

import queue
import socket
import threading
import time

from vaultak.floor import orders
from vaultak.floor.orders import Message

MAX_QUEUED = 65_536
"""Messages on their way; events beyond it are dropped and counted."""


class Relay:
    """The supervisor's end of the socket; also its publisher where the other side publishes. Thread-safe."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._queue: queue.Queue[Message | None] = queue.Queue(MAX_QUEUED)
        self.dropped = 0
        self._sender = threading.Thread(target=self._send, name="vaultak-floor-relay", daemon=True)

    def start(self) -> None:
        self._sender.start()

    def receive(self) -> Message | None:
        return orders.receive(self._sock)

    def tell(self, message: Message) -> None:
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self.dropped += 1

    def _send(self) -> None:
        gone = False
        while (message := self._queue.get()) is not None:
            try:
                if not gone:
                    orders.send(self._sock, message)
            except OSError:  # nobody listens any more: what comes is dropped
                gone = True
            self.dropped += gone
            self._queue.task_done()
        self._queue.task_done()

    # -- as a publisher ----------------------------------------------------------------------------------------

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self.tell(Message("event", event=(topic, key, value, headers)))

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything told so far has been handed over."""
        deadline = time.monotonic() + timeout_s
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._queue.all_tasks_done.wait(left_s):
                    return False
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        self.flush(timeout_s)
