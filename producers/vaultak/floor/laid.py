"""The floor under a thread of this program: its filter, and the way to its supervisor."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from vaultak.errors import VaultakError
from vaultak.floor import orders, reason_unavailable
from vaultak.floor.launch import spawn_supervisor
from vaultak.floor.notes import Notes
from vaultak.floor.orders import Message, Order

if TYPE_CHECKING:
    from vaultak.client import Vaultak
    from vaultak.floor.kernel import PreparedFilter

log = logging.getLogger("vaultak")

_ANSWER_TIMEOUT_S = 10.0


class LaidFloor:
    """One thread's floor, for as long as the thread lives; each session begins and ends on it.

    Raises `VaultakError` where it cannot be laid; the thread is as it was then.
    """

    def __init__(self, client: Vaultak, order: Order, killed: Callable[[str], None]) -> None:
        if reason := reason_unavailable():
            raise VaultakError(f"no floor: {reason}")
        from vaultak.floor import kernel
        from vaultak.floor.syscalls import table

        architecture = table()
        assert architecture is not None
        prepared = kernel.PreparedFilter(architecture)
        self.process_id = os.getpid()
        self._client = client
        self._killed = killed
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._orders = [order]
        shared = Notes.create()
        try:
            self.notes = Notes(shared)
            self._process, self._sock = spawn_supervisor(order, shared)
        finally:
            os.close(shared)
        try:
            kernel.allow_tracing_by(self._process.pid)
            self._expect_ready()
            self._lay(prepared)
        except BaseException:
            self._sock.close()
            self._process.wait()
            raise

    def _expect_ready(self) -> None:
        self._sock.settimeout(_ANSWER_TIMEOUT_S * 2)
        try:
            message = orders.receive(self._sock)
        except TimeoutError:
            self._process.kill()
            message = None
        if message is None or message.kind != "ready":
            raise VaultakError(message.text if message else "the floor's supervisor did not start")
        self._sock.settimeout(None)

    def _lay(self, prepared: PreparedFilter) -> None:
        """The reader has to be outside the filter: it must never wait for the supervisor."""
        threading.Thread(target=self._read, name="vaultak-floor", daemon=True).start()
        try:
            listener = prepared.install()
        except OSError as e:
            if e.errno == errno.EBUSY:
                raise VaultakError("the thread is under another floor already, which goes on judging") from None
            raise VaultakError(f"no floor: the kernel refused the filter: {e.strerror}") from None
        orders.send(self._sock, Message("listener", listener))
        self._await_answer()
        os.close(listener)

    def _await_answer(self) -> None:
        if not self._answered.wait(_ANSWER_TIMEOUT_S):
            log.error("the floor's supervisor does not answer")
        self._answered.clear()

    def _read(self) -> None:
        try:
            while (message := orders.receive(self._sock)) is not None:
                if message.kind == "event" and message.event is not None:
                    self._client._the_publisher().emit(*message.event)
                elif message.kind == "killed":
                    self._killed(message.text)
                elif message.kind == "failed":
                    log.error("%s", message.text)
                else:
                    self._answered.set()
        except (OSError, ValueError) as e:
            log.error("lost the floor's supervisor: %s", e)
        self._answered.set()
        self._process.wait()

    # -- sessions ----------------------------------------------------------------------------------------------

    def begin(self, order: Order) -> None:
        """From now on judge for this order; the one before goes on when it ends."""
        self._orders.append(order)
        self._ask(Message("begin", order=order))

    def end(self) -> None:
        """The last session that began is over. In a forked child the floor is its parent's business."""
        if os.getpid() != self.process_id:
            return
        self._orders.pop()
        self._ask(Message("begin", order=self._orders[-1]) if self._orders else Message("over"))

    def tell(self, kind: str, text: str = "") -> None:
        """Pass a ruling on."""
        if os.getpid() == self.process_id:
            self._send(Message(kind, text=text))

    def _ask(self, message: Message) -> None:
        self._answered.clear()
        self._send(message)
        self._await_answer()

    def _send(self, message: Message) -> None:
        with self._lock:
            try:
                orders.send(self._sock, message)
            except OSError:
                log.error("the floor's supervisor is gone: what it would judge fails")
                self._answered.set()


def source_directories() -> list[str]:
    """Where this program imports its code from."""
    return sorted({os.path.join(os.path.realpath(path), "") for path in sys.path if path and os.path.isdir(path)})
