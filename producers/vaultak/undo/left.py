"""What an agent's actions left in files, so that somebody else's change in place is told apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from vaultak.undo.entries import Entry, Kind, Operation, Settled, State, look, same_content
from vaultak.undo.settling import FIRST_LOOK_S, Written
from vaultak.undo.writers import is_open_for_writing


class LeftStates:
    """The states that entries left at their paths, as far as they are known. Not thread-safe: the log's lock holds it.

    A file that an action opened is looked at once nobody can write to it any more. While two actions write to a file
    at once, what the earlier one leaves by itself is not known.
    """

    def __init__(self, entries: Mapping[int, Entry], note: Callable[[Settled], None]) -> None:
        self._entries = entries
        self._note = note
        self._states: dict[int, State] = {}
        self._open: dict[str, Written] = {}
        """Files that may still be written to, by identity: the latest entry of each."""

    @property
    def awaited(self) -> bool:
        """Whether a file may still be open."""
        return bool(self._open)

    def load(self, record: Settled) -> None:
        self._states[record.n] = record.state

    def forget(self, n: int) -> None:
        self._states.pop(n, None)

    def records(self) -> list[Settled]:
        return [Settled(n, state) for n, state in self._states.items()]

    def over(self, entry: Entry, now: State) -> None:
        """The action of `entry` is over; a file that it opened may well be open still."""
        if entry.op is Operation.METADATA:
            self._settle(entry.n, now)
        elif entry.op is Operation.WRITE and now.kind is Kind.FILE:
            now_s = time.monotonic()
            self._open[now.identity] = Written(entry.n, entry.path, now_s, now_s + FIRST_LOOK_S)

    def before(self, entry: Entry) -> None:
        """An action is about to run: what an earlier one wrote is what this one finds."""
        for found, path in ((entry.before, entry.path), (entry.source_state, entry.source)):
            earlier = self._open.get(found.identity) if found is not None else None
            if found is None or earlier is None:
                continue
            busy = is_open_for_writing(path, _inode(found.identity))
            if busy is False:
                self._settle(earlier.n, found)
            if not busy or entry.op is Operation.WRITE:
                del self._open[found.identity]

    def look(self, now_s: float) -> float | None:
        """Look at the files whose time has come; seconds until the next look, `None` when none is open."""
        for identity, written in list(self._open.items()):
            if written.due_s <= now_s:
                self._look_at(identity, written.later(now_s))
        if not self._open:
            return None
        return max(0.0, min(written.due_s for written in self._open.values()) - now_s)

    def _look_at(self, identity: str, written: Written) -> None:
        path = self._whereabouts(identity, written.path)
        busy = is_open_for_writing(path, _inode(identity)) if path else None
        if busy:
            self._open[identity] = written
            return
        del self._open[identity]
        state = look(path)
        if busy is False and state.identity == identity and written.n in self._entries:
            self._settle(written.n, state)

    def _whereabouts(self, identity: str, path: str) -> str:
        """Where a file is that was at `path`; empty when no rename of this agent's tells."""
        if look(path).identity == identity:
            return path
        for entry in reversed(list(self._entries.values())):
            if entry.source_state is not None and entry.source_state.identity == identity:
                return entry.path
        return ""

    def _settle(self, n: int, state: State) -> None:
        self._states[n] = state = msgspec.structs.replace(state, target="", blob="", content=None)
        self._note(Settled(n, state))

    def of(self, entry: Entry) -> tuple[State, ...] | None:
        """What the agent left in the file of `entry`, by it and by its later actions; `None`: not known.

        A later action counts where it found what the earlier one left: in between, nobody else wrote.
        """
        last = self._states.get(entry.n)
        if last is None:
            return None
        states = [last]
        for later in self._entries.values():
            if later.n <= entry.n or later.op not in (Operation.WRITE, Operation.METADATA):
                continue
            if later.before.identity != last.identity or not same_content(later.before, last):
                continue
            left = self._states.get(later.n)
            if left is None:
                return None
            states.append(last := left)
        return tuple(states)


def _inode(identity: str) -> int:
    return int(identity.partition(":")[0])
