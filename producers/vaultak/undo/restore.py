"""Takes one entry back. Every step may be cut short at any point and run again: it ends the same.

A step that finds something other than what the action left behind touches nothing and is a conflict.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from vaultak.undo import contents
from vaultak.undo.blobs import Blobs
from vaultak.undo.entries import Entry, Kind, Operation, State, look, same_content
from vaultak.undo.steps import CONFLICT, REVERSED, UNSUPPORTED

Outcome = tuple[str, str, str]
"""Status, detail, and the identity of a file that had to be made anew (else empty)."""

Identities = Mapping[str, str]
"""Of files that were made anew, by the identity they had."""

DONE: Outcome = (REVERSED, "", "")


class Left(NamedTuple):
    """What is known of what an action left behind."""

    made: str
    """The identity of what it made; empty when that is not known."""
    remade: Identities
    states: tuple[State, ...] | None
    """The states of its file that it and the same agent's later actions left; `None`: not known, anything passes."""
    begin: Callable[[], None]
    """Called before a content is touched: from then on it may be half of it."""

    def wrote(self, now: State) -> bool:
        return self.states is None or any(same_content(now, state) for state in self.states)


CHANGED = "someone else has changed it since"


def take_back(entry: Entry, left: Left, blobs: Blobs) -> Outcome:
    """Put `entry.path` back to what it was. Never raises `OSError`: what the system refuses is `unsupported`."""
    try:
        outcome = _STEPS[entry.op](entry, left, blobs)
        if outcome[0] == REVERSED:
            _set_mtime(os.path.dirname(entry.path), entry.parent_mtime_ns)
            if entry.source:
                _set_mtime(os.path.dirname(entry.source), entry.source_parent_mtime_ns)
    except (OSError, ValueError) as e:
        return UNSUPPORTED, str(e), ""
    return outcome


def same(state: State, identity: str, remade: Identities) -> bool:
    return state.identity in (identity, remade.get(identity, identity))


def _write(entry: Entry, left: Left, blobs: Blobs) -> Outcome:
    now, before = look(entry.path), entry.before
    if before.kind is Kind.ABSENT:
        return _remove(entry, now, left)
    if before.kind is Kind.SYMLINK and same(now, before.identity, left.remade):
        return DONE  # the action was refused: it would have made something where the link is
    if before.lost:
        return UNSUPPORTED, before.lost, ""
    if now.kind is not Kind.FILE or not same(now, before.identity, left.remade):
        return CONFLICT, "it is another file by now" if now.kind is not Kind.ABSENT else "it is gone by now", ""
    if not left.wrote(now):
        return CONFLICT, CHANGED, ""
    left.begin()
    if not now.mode & 0o200:
        os.chmod(entry.path, now.mode | 0o200)
    fd = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)  # not through a link put there meanwhile
    try:
        _fill(fd, before, blobs)
        if stat.S_IMODE(os.fstat(fd).st_mode) != now.mode:  # ours from above, or writing has cleared set-id bits
            os.fchmod(fd, now.mode)
    finally:
        os.close(fd)
    _set_metadata(entry.path, before, left.states)
    _set_mtime(entry.path, before.mtime_ns)
    return DONE


def _fill(fd: int, before: State, blobs: Blobs) -> None:
    if before.content is not None:
        contents.write(before.content, fd)
        return
    with open(blobs.path(before.blob), "rb") as kept:
        if not contents.clone(kept.fileno(), fd):
            contents.copy(kept.fileno(), fd)


def _remove(entry: Entry, now: State, left: Left) -> Outcome:
    """What the action created goes."""
    if now.kind is Kind.ABSENT:
        return DONE
    removable = now.kind in (Kind.FILE, Kind.SYMLINK) or (left.made and now.kind is Kind.OTHER)
    if not removable or (left.made and not same(now, left.made, left.remade)):
        return CONFLICT, "something else is there by now", ""
    if now.kind is Kind.FILE and not left.wrote(now) and os.lstat(entry.path).st_nlink == 1:
        return CONFLICT, CHANGED, ""
    os.unlink(entry.path)
    return DONE


def _delete(entry: Entry, _left: Left, blobs: Blobs) -> Outcome:
    now, before = look(entry.path), entry.before
    if before.kind is Kind.ABSENT:
        return DONE
    if now.kind is not Kind.ABSENT:
        return _resumed(entry, now, blobs)
    return _make_again(entry.path, before, blobs)


def _resumed(entry: Entry, now: State, blobs: Blobs) -> Outcome:
    """There is something where nothing should be: what an interrupted run of this very step left, or someone else's."""
    before = entry.before
    if now.kind is before.kind and (
        now.kind is Kind.DIRECTORY
        or (now.kind is Kind.SYMLINK and now.target == before.target)
        or (before.blob and is_the_blob(entry.path, before, blobs))
    ):
        if now.identity == before.identity:
            return _relinked(entry.path, before)
        _set_metadata(entry.path, before)
        return REVERSED, "", now.identity
    return CONFLICT, "something is there again", ""


def is_the_blob(path: str, before: State, blobs: Blobs) -> bool:
    kept = blobs.path(before.blob)
    if os.path.samestat(os.lstat(path), os.lstat(kept)):
        return True
    if before.kind is not Kind.FILE:
        return False
    with open(path, "rb") as a, open(kept, "rb") as b:
        while piece := a.read(1024 * 1024):
            if piece != b.read(1024 * 1024):
                return False
        return not b.read(1)


def _make_again(path: str, before: State, blobs: Blobs) -> Outcome:
    if before.kind is Kind.DIRECTORY:
        os.mkdir(path)
    elif before.lost:
        return UNSUPPORTED, before.lost, ""
    elif before.blob and _relink(blobs.path(before.blob), before, path):
        return _relinked(path, before)
    elif before.kind is Kind.SYMLINK:
        os.symlink(before.target, path)
    elif before.kind is Kind.FILE and before.blob:
        _bring_back(blobs.path(before.blob), path)
    else:
        return UNSUPPORTED, "its content was not kept", ""
    _set_metadata(path, before)
    return REVERSED, "", look(path).identity


def _relinked(path: str, before: State) -> Outcome:
    """The very file has its name again. Where it has others, what was written through them since is someone else's."""
    now = look(path)
    if now.kind is Kind.FILE and not same_content(now, before):
        return REVERSED, "it was changed since through another name", now.identity
    _set_metadata(path, before)
    return REVERSED, "", now.identity


def _relink(kept: Path, before: State, path: str) -> bool:
    """Give the very file its name back. False: what is kept is a copy, or on another file system by now."""
    if look(str(kept)).identity != before.identity:
        return False
    try:
        os.link(kept, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _bring_back(kept: Path, path: str) -> None:
    # Whole or not at all: a file that is half there would look like someone else's.
    directory = os.path.dirname(path)
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)  # has no name: nothing is left of it
    except (OSError, AttributeError):
        _bring_back_by_name(kept, path)
        return
    with open(kept, "rb") as source, open(fd, "wb") as copy:
        contents.copy(source.fileno(), copy.fileno())
        # With a directory's descriptor Python calls linkat, which alone can follow this link.
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


def _bring_back_by_name(kept: Path, path: str) -> None:
    """Where the system has no files without a name; a kill at the wrong moment leaves one more file behind."""
    fd, temporary = tempfile.mkstemp(prefix=".vaultak-undo-", dir=os.path.dirname(path))
    try:
        with open(kept, "rb") as source, open(fd, "wb") as copy:
            contents.copy(source.fileno(), copy.fileno())
        os.link(temporary, path)
    finally:
        os.unlink(temporary)


def _rename(entry: Entry, left: Left, blobs: Blobs) -> Outcome:
    source = entry.source_state
    if source is None or source.kind is Kind.ABSENT:
        return DONE
    there, back = look(entry.path), look(entry.source)
    if back.kind is Kind.ABSENT:
        if not same(there, source.identity, left.remade):
            return CONFLICT, f"what was moved here from {entry.source} is not here any more", ""
        os.rename(entry.path, entry.source)
    elif not same(back, source.identity, left.remade):
        return CONFLICT, f"something else is at {entry.source} by now", ""
    if entry.before.kind is not Kind.ABSENT and look(entry.path).kind is Kind.ABSENT:
        return _make_again(entry.path, entry.before, blobs)
    return DONE


def _mkdir(entry: Entry, left: Left, _blobs: Blobs) -> Outcome:
    now = look(entry.path)
    if entry.before.kind is not Kind.ABSENT or now.kind is Kind.ABSENT:
        return DONE
    if now.kind is not Kind.DIRECTORY or (left.made and not same(now, left.made, left.remade)):
        return CONFLICT, "it is no directory any more", ""
    try:
        os.rmdir(entry.path)
    except OSError as e:
        return CONFLICT, f"it is not empty: {e.strerror}", ""
    return DONE


def _link(entry: Entry, left: Left, _blobs: Blobs) -> Outcome:
    if entry.before.kind is not Kind.ABSENT:
        return DONE
    return _remove(entry, look(entry.path), left)


def _metadata(entry: Entry, left: Left, _blobs: Blobs) -> Outcome:
    now, before = look(entry.path), entry.before
    if before.kind is Kind.ABSENT:
        return DONE
    if now.kind is not before.kind or not same(now, before.identity, left.remade):
        return CONFLICT, "it is another file by now", ""
    if name := metadata_conflict(now, before, left):
        return CONFLICT, f"someone else has changed its {name} since", ""
    _set_metadata(entry.path, before, left.states, retime=left.wrote(now))
    return DONE


def metadata_conflict(now: State, before: State, left: Left) -> str:
    """What the action changed and someone else has changed since; empty when nothing."""
    if left.states is None:
        return ""
    for name, value in _values(now).items():
        known = [_values(state).get(name) for state in (before, *left.states)]
        if value not in known and known[0] != known[1]:
            return name
    return ""


def _values(state: State) -> dict[str, object]:
    """What a metadata action may change, by name; an attribute that is absent has no name."""
    attributes = {f"attribute {name}": value for name, value in state.xattrs.items()}
    return {"mode": state.mode, "owner": (state.uid, state.gid), **attributes}


_STEPS = {
    Operation.WRITE: _write,
    Operation.DELETE: _delete,
    Operation.RENAME: _rename,
    Operation.MKDIR: _mkdir,
    Operation.LINK: _link,
    Operation.METADATA: _metadata,
}


def _set_metadata(path: str, before: State, left: tuple[State, ...] | None = None, *, retime: bool = True) -> None:
    """Owner where permitted, mode, extended attributes, and the time of modification last.

    Where it is known what the action left, only what it changed is put back.
    """
    now, after = look(path), left[0] if left else None

    def touched(of: Callable[[State], object]) -> bool:
        return after is None or of(before) != of(after)

    if touched(lambda s: (s.uid, s.gid)) and (before.uid, before.gid) != (now.uid, now.gid):
        with contextlib.suppress(PermissionError):
            os.chown(path, before.uid, before.gid, follow_symlinks=False)
    if before.kind is not Kind.SYMLINK:
        if touched(lambda s: s.mode):
            os.chmod(path, before.mode)
        for name in {*now.xattrs, *before.xattrs}:
            if touched(lambda s, name=name: s.xattrs.get(name)):  # type: ignore[misc]
                _set_attribute(path, name, before.xattrs.get(name), now.xattrs.get(name))
    if retime and touched(lambda s: s.mtime_ns):
        _set_mtime(path, before.mtime_ns)


def _set_attribute(path: str, name: str, value: bytes | None, now: bytes | None) -> None:
    if value == now:
        return
    if value is None:
        os.removexattr(path, name)
    else:
        os.setxattr(path, name, value)


def _set_mtime(path: str, mtime_ns: int) -> None:
    if not mtime_ns:
        return
    with contextlib.suppress(FileNotFoundError):
        atime_ns = os.lstat(path).st_atime_ns
        os.utime(path, ns=(atime_ns, mtime_ns), follow_symlinks=False)
