"""The undo log of one instance of an agent: what is kept before, and how it is taken back."""

from __future__ import annotations

import logging
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from vaultak import governor
from vaultak.undo.blobs import Blobs, TooLargeError
from vaultak.undo.compensation import compensate
from vaultak.undo.contents import read_small
from vaultak.undo.entries import (
    Begun,
    Created,
    Done,
    Entry,
    Kind,
    Operation,
    Settled,
    Started,
    State,
    look,
    mtime_ns,
)
from vaultak.undo.forecast import View
from vaultak.undo.journal import Journal, Record
from vaultak.undo.left import LeftStates
from vaultak.undo.limits import UndoLimits
from vaultak.undo.restore import Left, take_back
from vaultak.undo.settling import watch
from vaultak.undo.steps import REVERSED, StepPreview, StepResult

log = logging.getLogger("vaultak.undo")

_WORDS = {
    Operation.WRITE: "restore the content",
    Operation.DELETE: "bring back",
    Operation.RENAME: "move back",
    Operation.MKDIR: "remove the directory",
    Operation.LINK: "remove the link",
    Operation.METADATA: "restore mode, owner and times",
}


INLINE_BYTES = 4096
"""Contents up to this are kept in the journal's own line: to make a file for each costs several times as much."""

Step = tuple[str, int | None]
"""An action and one of its entries; `None` stands for its latest compensation."""


class UndoLog:
    """Keeps pre-images of files and compensations of anything else; takes the last actions back, newest first.

    The `before_*` methods are called ahead of an effect, by whoever saw it coming; for one action the first
    pre-image of a path counts. Thread-safe. Raises `OSError` where the directory cannot be written, and
    `BlockingIOError` when a living process has it open.
    """

    def __init__(self, directory: Path, agent_id: str, *, limits: UndoLimits | None = None) -> None:
        self.agent_id = agent_id
        self._limits = limits or UndoLimits()
        self._lock = threading.RLock()
        self._rolling_back = threading.RLock()
        """Held for a whole rollback; `_lock` is not, so that a compensation may wait for a thread that journals."""
        self._journal = Journal(directory)
        self._blobs = Blobs(directory / "kept", self._limits)
        self._entries: dict[int, Entry] = {}
        self._created: dict[int, str] = {}
        self._remade: dict[str, str] = {}
        self._left = LeftStates(self._entries, self._note)
        self._running: dict[str, list[int]] = {}
        """Entries of actions that are not over yet."""
        self._started: set[int] = set()
        self._pending: tuple[int, ...] = ()
        self._touched: set[tuple[str, Operation, str]] = set()
        self._order: list[Step] = []
        """Actions and their entries as they came; `None` stands for a compensation."""
        self._compensations: dict[str, list[tuple[Callable[[], object], str]]] = {}
        self._next = 1
        self._closed = False
        self._load()

    def _load(self) -> None:
        for record in self._journal.read():
            match record:
                case Entry():
                    self._entries[record.n] = record
                    self._next = max(self._next, record.n + 1)
                case Created():
                    self._created[record.n] = record.identity
                case Settled():
                    self._left.load(record)
                case Started():
                    self._started.add(record.n)
                case Begun():
                    self._pending = record.entries
                case Done():
                    entry = self._entries.pop(record.n, None)
                    self._left.forget(record.n)
                    self._started.discard(record.n)
                    if entry is not None and record.identity:
                        self._remade[entry.before.identity] = record.identity
        self._next = max(self._next, self._blobs.last + 1)
        self._pending = tuple(n for n in self._pending if n in self._entries)
        self._order = [(entry.action_id, n) for n, entry in sorted(self._entries.items())]

    # -- before an effect --------------------------------------------------------------------------------------

    def before_write(self, action_id: str, path: str) -> None:
        """A file is about to be created, truncated, overwritten or appended to."""
        self._keep(action_id, Operation.WRITE, path, content=True)

    def before_delete(self, action_id: str, path: str) -> None:
        """A file, link or empty directory is about to go; of a directory with content, each entry comes by itself."""
        self._keep(action_id, Operation.DELETE, path, content=True, losing_name=True)

    def before_rename(self, action_id: str, source: str, target: str) -> None:
        """`source` is about to become `target`; what is there now would be lost."""
        self._keep(action_id, Operation.RENAME, target, content=True, losing_name=True, source=source)

    def before_mkdir(self, action_id: str, path: str) -> None:
        self._keep(action_id, Operation.MKDIR, path)

    def before_symlink(self, action_id: str, path: str) -> None:
        """A symbolic or hard link is about to appear at `path`."""
        self._keep(action_id, Operation.LINK, path)

    def before_chmod(self, action_id: str, path: str) -> None:
        """Mode, owner, times or extended attributes are about to change."""
        self._keep(action_id, Operation.METADATA, path)

    def register(self, action_id: str, compensation: Callable[[], object], description: str) -> None:
        """What takes an action back that is no file operation; gone with this process. May return an awaitable."""
        with self._lock:
            self._compensations.setdefault(action_id, []).append((compensation, description))
            self._order.append((action_id, None))

    def after(self, action_id: str) -> None:
        """The action is over: note what it made and left, so that another's doing is told apart."""
        with self._lock:
            for n in self._running.pop(action_id, ()):
                entry = self._entries.get(n)
                if entry is not None:
                    self._note_left(entry, look(entry.path))
            if not self._left.awaited:
                return
        watch.add(self)

    def _note_left(self, entry: Entry, now: State) -> None:
        if entry.before.kind is Kind.ABSENT and now.identity:
            self._created[entry.n] = now.identity
            self._note(Created(entry.n, now.identity))
        self._left.over(entry, now)

    def settle(self, now_s: float | None = None) -> float | None:
        """Note what the files that nobody writes to any more hold now; seconds until the next look, if one is due."""
        with self._lock:
            return None if self._closed else self._left.look(time.monotonic() if now_s is None else now_s)

    def _keep(
        self,
        action_id: str,
        op: Operation,
        path: str,
        *,
        content: bool = False,
        losing_name: bool = False,
        source: str = "",
    ) -> None:
        path = os.path.abspath(path)
        with self._lock:
            if (action_id, op, path) in self._touched or (op is Operation.WRITE and _takes_no_content(path)):
                return
            n, self._next = self._next, self._next + 1
            entry = Entry(
                n=n,
                action_id=action_id,
                op=op,
                path=path,
                before=self._state(n, path, content=content, losing_name=losing_name),
                parent_mtime_ns=mtime_ns(os.path.dirname(path)),
                source=os.path.abspath(source) if source else "",
                source_state=look(source) if source else None,
                source_parent_mtime_ns=mtime_ns(os.path.dirname(os.path.abspath(source))) if source else 0,
            )
            self._note(entry)
            self._left.before(entry)
            self._entries[n] = entry
            self._running.setdefault(action_id, []).append(n)
            self._touched.add((action_id, op, path))
            self._order.append((action_id, n))
            if len(self._order) > 2 * self._limits.actions + 64:
                self._prune()

    def _state(self, n: int, path: str, *, content: bool, losing_name: bool) -> State:
        state = look(path)
        if not content or state.kind is Kind.ABSENT or state.kind is Kind.DIRECTORY:
            return state
        if not losing_name and state.kind is not Kind.FILE:
            return state
        try:
            limit = min(INLINE_BYTES, self._limits.file_bytes)
            if not losing_name and state.size <= limit:
                small = read_small(path, limit)
                if small is not None:
                    return msgspec.structs.replace(state, content=small)
            self._blobs.keep(str(n), path, losing_name=losing_name)
        except (TooLargeError, OSError) as e:
            self._blobs.drop(str(n))
            if state.kind is Kind.SYMLINK:
                return state  # can be made again from its target
            return msgspec.structs.replace(state, lost=f"its content was not kept: {e}")
        return msgspec.structs.replace(state, blob=str(n))

    def _prune(self) -> None:
        """Forget the oldest actions; the journal is written anew without them."""
        kept = set(list(dict.fromkeys(action_id for action_id, _ in self._order))[-self._limits.actions :])
        for n in [n for n, entry in self._entries.items() if entry.action_id not in kept]:
            self._forget(n)
        self._order = [(action_id, n) for action_id, n in self._order if action_id in kept]
        self._compensations = {a: c for a, c in self._compensations.items() if a in kept}
        self._touched = {touched for touched in self._touched if touched[0] in kept}
        self._running = {a: entries for a, entries in self._running.items() if a in kept}
        made = [Created(n, identity) for n, identity in self._created.items()]
        self._journal.rewrite([*self._entries.values(), *made, *self._left.records()])

    def _forget(self, n: int) -> None:
        entry = self._entries.pop(n, None)
        self._created.pop(n, None)
        self._left.forget(n)
        self._started.discard(n)
        if entry is not None and entry.before.blob:
            self._blobs.drop(entry.before.blob)

    # -- taking back -------------------------------------------------------------------------------------------

    @property
    def interrupted(self) -> bool:
        """Whether a rollback was begun and not finished; the next one finishes it first."""
        return bool(self._pending)

    def steps(self, limit_actions: int | None = None, action_ids: Iterable[str] | None = None) -> list[StepPreview]:
        """What `rollback` would do, newest first. Changes nothing."""
        with self._lock:
            view = View(self._blobs)
            return [self._preview(action_id, n, view) for action_id, n in self._chosen(limit_actions, action_ids)]

    def _preview(self, action_id: str, n: int | None, view: View) -> StepPreview:
        if n is None:
            words = "; ".join(description for _, description in self._compensations.get(action_id, []))
            return StepPreview(action_id=action_id, target=words, what="run its compensation")
        entry = self._entries[n]
        absent = entry.op is Operation.WRITE and entry.before.kind is Kind.ABSENT
        what = "remove what was created" if absent else _WORDS[entry.op]
        expected, detail = view.forecast(entry, self._left_by(entry))
        return StepPreview(action_id=action_id, target=entry.path, what=what, expected=expected, detail=detail)

    def _left_by(self, entry: Entry) -> Left:
        n = entry.n
        states = None if n in self._started else self._left.of(entry)
        return Left(self._created.get(n, ""), self._remade, states, lambda: self._start(n))

    def rollback(self, limit_actions: int | None = None, action_ids: Iterable[str] | None = None) -> list[StepResult]:
        """Take back the last `limit_actions` actions, or those named, newest step first.

        What was taken back, or could not be, is forgotten: a second call goes on with what came before. One that
        was interrupted by the death of its process is finished first.
        """
        with self._rolling_back:
            token = governor.activate(None)
            try:
                with self._lock:
                    unfinished = [(self._entries[n].action_id, n) for n in sorted(self._pending, reverse=True)]
                results = self._take_back_all(list[Step](unfinished))
                with self._lock:
                    chosen = self._chosen(limit_actions, action_ids)
                    self._note(Begun(tuple(n for _, n in chosen if n is not None)))
                return results + self._take_back_all(chosen)
            finally:
                governor.deactivate(token)

    def _note(self, record: Record) -> None:
        """A full disk stops neither an action nor a rollback, as long as this process lives it knows what to do."""
        try:
            self._journal.append(record)
        except OSError as e:
            log.warning("the undo journal of agent %r lacks a record: %s", self.agent_id, e)

    def _chosen(self, limit_actions: int | None, action_ids: Iterable[str] | None) -> list[Step]:
        """The steps of the actions to take back, newest first."""
        recent = list(dict.fromkeys(action_id for action_id, _ in reversed(self._order)))
        wanted = set(recent if action_ids is None else action_ids)
        picked = [action_id for action_id in recent if action_id in wanted]
        chosen = set(picked if limit_actions is None else picked[: max(0, limit_actions)])
        return [(action_id, n) for action_id, n in reversed(self._order) if action_id in chosen]

    def _take_back_all(self, chosen: list[Step]) -> list[StepResult]:
        results = []
        for step in chosen:
            action_id, n = step
            with self._lock:
                if not self._claim(step):
                    continue
                if n is not None:
                    results.append(self._take_back(action_id, n))
                    continue
                compensation, description = self._compensations[action_id].pop()
            results.append(compensate(action_id, compensation, description))
        with self._lock:
            self._touched = {t for t in self._touched if t[0] not in {action_id for action_id, _ in chosen}}
            self._pending = ()
        return results

    def _claim(self, step: Step) -> bool:
        """Take a step off the list, before it runs: it runs once. False: it is not there any more."""
        for place in range(len(self._order) - 1, -1, -1):
            if self._order[place] == step:
                del self._order[place]
                return True
        return False

    def _take_back(self, action_id: str, n: int) -> StepResult:
        entry = self._entries[n]
        status, detail, identity = take_back(entry, self._left_by(entry), self._blobs)
        if identity:
            self._remade[entry.before.identity] = identity
        if status != REVERSED and (blob := self._blob_of(entry)):
            detail = f"{detail}; the old content is kept in {self._blobs.path(blob)}"
        detail = detail.encode(errors="backslashreplace").decode()  # it may name files, and names are bytes
        self._note(Done(n, status, detail, identity))
        if status == REVERSED:
            self._forget(n)
        else:
            self._entries.pop(n)  # its kept content stays on disk, for a person
            self._created.pop(n, None)
            self._left.forget(n)
            log.warning("not taken back: %s: %s: %s", entry.path, status, detail)
        return StepResult(action_id=action_id, target=entry.path, status=status, detail=detail)

    def _blob_of(self, entry: Entry) -> str:
        """The blob that keeps the content for a person; one is made for a content that the journal holds."""
        if entry.before.content is not None:
            try:
                self._blobs.put(str(entry.n), entry.before.content)
            except OSError as e:
                log.warning("the old content of %s is in the journal alone: %s", entry.path, e)
                return ""
            return str(entry.n)
        return entry.before.blob

    def _start(self, n: int) -> None:
        self._started.add(n)
        self._note(Started(n))

    # -- the end -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go. What can be taken back stays on disk for a later rollback; an empty log is removed. Idempotent.

        A log whose steps ended in a conflict is not empty: the content that could not be put back is in it.
        """
        with self._lock:
            if self._closed:
                return
            self._left.look(math.inf)
            self._closed = True
            directory = self._journal.directory
            self._journal.close()
            if not self._entries and not len(self._blobs):
                shutil.rmtree(directory, ignore_errors=True)


def _takes_no_content(path: str) -> bool:
    """A device, a pipe, a directory: there is nothing to put back."""
    return look(path).kind in (Kind.OTHER, Kind.DIRECTORY)
