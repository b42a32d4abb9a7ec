"""What would become of each step of a rollback, newest first, without doing any: the checks of `restore` on a view.

The view starts as what is on disk; each step that would succeed changes it to what that step would leave.
"""

from __future__ import annotations

import os
from collections import Counter

import msgspec

from vaultak.undo.blobs import Blobs
from vaultak.undo.entries import Entry, Kind, Operation, State, look, same_content
from vaultak.undo.restore import CHANGED, Left, is_the_blob, metadata_conflict, same
from vaultak.undo.steps import CONFLICT, REVERSED, UNSUPPORTED

Forecast = tuple[str, str]
"""The status that a step would end with, and why."""

_ABSENT = State(Kind.ABSENT)
_FINE: Forecast = (REVERSED, "")
_NO_ROOM = "its directory is not there any more"


class View:
    """The tree as it would be after the steps forecast so far. What the system may refuse is not foreseen."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._changed: dict[str, State] = {}
        self._kept_as: dict[str, str] = {}
        self.links: Counter[str] = Counter()
        """Names that files would have got and lost, by identity."""
        self._files: dict[str, State] = {}
        """What files would hold, by identity: one may have several names."""

    def forecast(self, entry: Entry, left: Left) -> Forecast:
        forecast = _STEPS[entry.op](self, entry, left)
        if forecast[0] == REVERSED and entry.before.blob:
            self.links[entry.before.identity] -= 1  # what was kept is dropped
        return forecast

    def see(self, path: str) -> State:
        state = self._changed.get(path) or look(path)
        file = self._files.get(state.identity)
        if file is None or state.kind is Kind.ABSENT:
            return state
        return msgspec.structs.replace(
            state,
            size=file.size,
            mtime_ns=file.mtime_ns,
            mode=file.mode,
            uid=file.uid,
            gid=file.gid,
            xattrs=file.xattrs,
        )

    def put(self, path: str, state: State) -> None:
        """`path` is that, and so is every other name of the same file."""
        self._changed[path] = state
        if state.identity:
            self._files[state.identity] = state

    def has_room_for(self, path: str) -> bool:
        """Whether the directory is there that a name comes back to."""
        directory = os.path.dirname(path)
        return self.see(directory).kind is Kind.DIRECTORY or (
            directory not in self._changed and os.path.isdir(directory)
        )

    def is_last_name(self, path: str, state: State) -> bool:
        """Whether the file has no other name; one that comes back has as many as what is kept of it."""
        try:
            links = os.lstat(self._kept_as.get(state.identity, path)).st_nlink
            return links + self.links[state.identity] <= 1
        except OSError:
            return True

    def move(self, path: str, to: str) -> None:
        """What is at `path`, and all below it, is at `to`."""
        below = {path, *(p for p in self._changed if p.startswith(path + os.sep))}
        for directory, directories, files in os.walk(path):
            below |= {os.path.join(directory, name) for name in (*directories, *files)}
        for old in sorted(below):
            self.put(to + old[len(path) :], state := self.see(old))
            self._kept_as.setdefault(state.identity, old)
        for old in below:
            self.put(old, _ABSENT)

    def kept(self, before: State) -> State:
        """What comes back: the very file, as it is by now through its other names, or a copy of what it was."""
        if before.blob:
            now = self.see(kept := str(self._blobs.path(before.blob)))
            self._kept_as[now.identity] = kept
            if now.identity == before.identity and now.kind is Kind.FILE and not same_content(now, before):
                return now
        return before

    def is_kept(self, path: str, before: State) -> bool:
        """Whether what is at `path` is the content that was kept of it."""
        if not before.blob:
            return False
        if path in self._changed:
            return self._changed[path].identity == before.identity
        try:
            return is_the_blob(path, before, self._blobs)
        except (OSError, ValueError):
            return False

    def is_empty(self, directory: str) -> bool:
        try:
            names = {os.path.join(directory, name) for name in os.listdir(directory)}
        except OSError:
            names = set()
        names |= {path for path in self._changed if os.path.dirname(path) == directory}
        return all(self.see(path).kind is Kind.ABSENT for path in names)


def _write(view: View, entry: Entry, left: Left) -> Forecast:
    now, before = view.see(entry.path), entry.before
    if before.kind is Kind.ABSENT:
        return _remove(view, entry, left)
    if before.kind is Kind.SYMLINK and same(now, before.identity, left.remade):
        return _FINE
    if before.lost:
        return UNSUPPORTED, before.lost
    if now.kind is not Kind.FILE or not same(now, before.identity, left.remade):
        return CONFLICT, "it is another file by now"
    if not left.wrote(now):
        return CONFLICT, CHANGED
    view.put(entry.path, _restored(now, before, left, mtime_ns=before.mtime_ns))
    return _FINE


def _restored(now: State, before: State, left: Left, *, mtime_ns: int) -> State:
    """`now` with what the action changed put back."""
    after = left.states[0] if left.states else None
    if after is None:
        return msgspec.structs.replace(before, identity=now.identity, mtime_ns=mtime_ns)
    xattrs = {
        name: value
        for name in {*now.xattrs, *before.xattrs}
        if (value := (now if before.xattrs.get(name) == after.xattrs.get(name) else before).xattrs.get(name))
        is not None
    }
    mode = now.mode if before.mode == after.mode else before.mode
    owner = now if (before.uid, before.gid) == (after.uid, after.gid) else before
    return msgspec.structs.replace(
        now, size=before.size, mtime_ns=mtime_ns, mode=mode, uid=owner.uid, gid=owner.gid, xattrs=xattrs
    )


def _remove(view: View, entry: Entry, left: Left) -> Forecast:
    now = view.see(entry.path)
    if now.kind is Kind.ABSENT:
        return _FINE
    removable = now.kind in (Kind.FILE, Kind.SYMLINK) or (left.made and now.kind is Kind.OTHER)
    if not removable or (left.made and not same(now, left.made, left.remade)):
        return CONFLICT, "something else is there by now"
    if now.kind is Kind.FILE and not left.wrote(now) and view.is_last_name(entry.path, now):
        return CONFLICT, CHANGED
    view.put(entry.path, _ABSENT)
    view.links[now.identity] -= 1
    return _FINE


def _delete(view: View, entry: Entry, _left: Left) -> Forecast:
    now, before = view.see(entry.path), entry.before
    if before.kind is Kind.ABSENT:
        return _FINE
    if now.kind is not Kind.ABSENT:
        returned = now.kind is before.kind and (
            now.kind is Kind.DIRECTORY
            or (now.kind is Kind.SYMLINK and now.target == before.target)
            or view.is_kept(entry.path, before)
        )
        if returned:
            view.put(entry.path, now if now.identity == before.identity else before)
        return _FINE if returned else (CONFLICT, "something is there again")
    return _come_back(view, entry.path, before)


def _come_back(view: View, path: str, before: State) -> Forecast:
    if before.lost or (before.kind in (Kind.FILE, Kind.OTHER) and not before.blob):
        return UNSUPPORTED, before.lost or "its content was not kept"
    if not view.has_room_for(path):
        return UNSUPPORTED, _NO_ROOM
    view.put(path, view.kept(before))
    view.links[before.identity] += 1
    return _FINE


def _rename(view: View, entry: Entry, left: Left) -> Forecast:
    source = entry.source_state
    if source is None or source.kind is Kind.ABSENT:
        return _FINE
    there, back = view.see(entry.path), view.see(entry.source)
    if back.kind is Kind.ABSENT:
        if not same(there, source.identity, left.remade):
            return CONFLICT, f"what was moved here from {entry.source} is not here any more"
        if not view.has_room_for(entry.source):
            return UNSUPPORTED, _NO_ROOM
        view.move(entry.path, entry.source)
    elif not same(back, source.identity, left.remade):
        return CONFLICT, f"something else is at {entry.source} by now"
    if entry.before.kind is not Kind.ABSENT and view.see(entry.path).kind is Kind.ABSENT:
        return _come_back(view, entry.path, entry.before)
    return _FINE


def _mkdir(view: View, entry: Entry, left: Left) -> Forecast:
    now = view.see(entry.path)
    if entry.before.kind is not Kind.ABSENT or now.kind is Kind.ABSENT:
        return _FINE
    if now.kind is not Kind.DIRECTORY or (left.made and not same(now, left.made, left.remade)):
        return CONFLICT, "it is no directory any more"
    if not view.is_empty(entry.path):
        return CONFLICT, "it is not empty"
    view.put(entry.path, _ABSENT)
    return _FINE


def _link(view: View, entry: Entry, left: Left) -> Forecast:
    return _FINE if entry.before.kind is not Kind.ABSENT else _remove(view, entry, left)


def _metadata(view: View, entry: Entry, left: Left) -> Forecast:
    now, before = view.see(entry.path), entry.before
    if before.kind is Kind.ABSENT:
        return _FINE
    if now.kind is not before.kind or not same(now, before.identity, left.remade):
        return CONFLICT, "it is another file by now"
    if name := metadata_conflict(now, before, left):
        return CONFLICT, f"someone else has changed its {name} since"
    retimed = left.wrote(now) and (left.states is None or left.states[0].mtime_ns != before.mtime_ns)
    put_back = _restored(now, before, left, mtime_ns=before.mtime_ns if retimed else now.mtime_ns)
    view.put(entry.path, msgspec.structs.replace(put_back, size=now.size))
    return _FINE


_STEPS = {
    Operation.WRITE: _write,
    Operation.DELETE: _delete,
    Operation.RENAME: _rename,
    Operation.MKDIR: _mkdir,
    Operation.LINK: _link,
    Operation.METADATA: _metadata,
}
