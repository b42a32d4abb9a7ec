"""Takes one entry back. Every step may be cut short at any point and run again: it ends the same.

A step that finds something other than what the action left behind touches nothing and is a conflict.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vaultak.undo import contents
from vaultak.undo.blobs import Blobs
from vaultak.undo.entries import Entry, Kind, Operation, State, look
from vaultak.undo.steps import CONFLICT, REVERSED, UNSUPPORTED

Outcome = tuple[str, str, str]
"""Status, detail, and the identity of a file that had to be made anew (else empty)."""

Identities = Mapping[str, str]
"""Of files that were made anew, by the identity they had."""

DONE: Outcome = (REVERSED, "", "")


def take_back(entry: Entry, made: str, remade: Identities, blobs: Blobs) -> Outcome:
    """Put `entry.path` back to what it was. Never raises `OSError`: what the system refuses is `unsupported`."""
    try:
        outcome = _STEPS[entry.op](entry, made, remade, blobs)
        if outcome[0] == REVERSED:
            _set_mtime(os.path.dirname(entry.path), entry.parent_mtime_ns)
            if entry.source:
                _set_mtime(os.path.dirname(entry.source), entry.source_parent_mtime_ns)
    except (OSError, ValueError) as e:
        return UNSUPPORTED, str(e), ""
    return outcome


def _same(state: State, identity: str, remade: Identities) -> bool:
    return state.identity in (identity, remade.get(identity, identity))


def _write(entry: Entry, made: str, remade: Identities, blobs: Blobs) -> Outcome:
    now, before = look(entry.path), entry.before
    if before.kind is Kind.ABSENT:
        return _remove(entry, now, made, remade)
    if before.kind is Kind.SYMLINK and _same(now, before.identity, remade):
        return DONE  # the action was refused: it would have made something where the link is
    if before.lost:
        return UNSUPPORTED, before.lost, ""
    if now.kind is not Kind.FILE or not _same(now, before.identity, remade):
        return CONFLICT, "it is another file by now" if now.kind is not Kind.ABSENT else "it is gone by now", ""
    if not now.mode & 0o200:
        os.chmod(entry.path, now.mode | 0o200)  # its mode is put back below
    fd = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)  # not through a link put there meanwhile
    with open(blobs.path(before.blob), "rb") as kept, open(fd, "r+b") as target:
        if not contents.clone(kept.fileno(), target.fileno()):
            contents.copy(kept.fileno(), target.fileno())
    _set_metadata(entry.path, before)
    return DONE


def _remove(entry: Entry, now: State, made: str, remade: Identities) -> Outcome:
    """What the action created goes."""
    if now.kind is Kind.ABSENT:
        return DONE
    removable = now.kind in (Kind.FILE, Kind.SYMLINK) or (made and now.kind is Kind.OTHER)
    if not removable or (made and not _same(now, made, remade)):
        return CONFLICT, "something else is there by now", ""
    os.unlink(entry.path)
    return DONE


def _delete(entry: Entry, _made: str, remade: Identities, blobs: Blobs) -> Outcome:
    now, before = look(entry.path), entry.before
    if before.kind is Kind.ABSENT:
        return DONE
    if now.kind is not Kind.ABSENT:
        return _resumed(entry, now, blobs)
    return _make_again(entry.path, before, blobs)


def _resumed(entry: Entry, now: State, blobs: Blobs) -> Outcome:
    """There is something where nothing should be: what an interrupted run of this very step left, or someone else's."""
    before = entry.before
    if now.kind is before.kind is Kind.DIRECTORY or (now.kind is Kind.SYMLINK and now.target == before.target):
        _set_metadata(entry.path, before)
        return DONE
    if now.kind is before.kind and before.blob and _is_the_blob(entry.path, before, blobs):
        _set_metadata(entry.path, before)
        return REVERSED, "", now.identity
    return CONFLICT, "something is there again", ""


def _is_the_blob(path: str, before: State, blobs: Blobs) -> bool:
    kept = blobs.path(before.blob)
    if os.path.samefile(path, kept):
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
    elif before.kind is Kind.SYMLINK:
        os.symlink(before.target, path)
    elif before.lost or not before.blob:
        return UNSUPPORTED, before.lost or "its content was not kept", ""
    else:
        _bring_back(blobs, before, path)
    _set_metadata(path, before)
    return REVERSED, "", look(path).identity


def _bring_back(blobs: Blobs, before: State, path: str) -> None:
    kept = blobs.path(before.blob)
    if look(str(kept)).identity == before.identity:
        with contextlib.suppress(OSError):  # another file system by now: copy
            os.link(kept, path)
            return
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


def _rename(entry: Entry, _made: str, remade: Identities, blobs: Blobs) -> Outcome:
    source = entry.source_state
    if source is None or source.kind is Kind.ABSENT:
        return DONE
    there, back = look(entry.path), look(entry.source)
    if back.kind is Kind.ABSENT:
        if not _same(there, source.identity, remade):
            return CONFLICT, f"what was moved here from {entry.source} is not here any more", ""
        os.rename(entry.path, entry.source)
    elif not _same(back, source.identity, remade):
        return CONFLICT, f"something else is at {entry.source} by now", ""
    if entry.before.kind is not Kind.ABSENT and look(entry.path).kind is Kind.ABSENT:
        return _make_again(entry.path, entry.before, blobs)
    return DONE


def _mkdir(entry: Entry, made: str, remade: Identities, _blobs: Blobs) -> Outcome:
    now = look(entry.path)
    if entry.before.kind is not Kind.ABSENT or now.kind is Kind.ABSENT:
        return DONE
    if now.kind is not Kind.DIRECTORY or (made and not _same(now, made, remade)):
        return CONFLICT, "it is no directory any more", ""
    try:
        os.rmdir(entry.path)
    except OSError as e:
        return CONFLICT, f"it is not empty: {e.strerror}", ""
    return DONE


def _link(entry: Entry, made: str, remade: Identities, _blobs: Blobs) -> Outcome:
    if entry.before.kind is not Kind.ABSENT:
        return DONE
    return _remove(entry, look(entry.path), made, remade)


def _metadata(entry: Entry, _made: str, remade: Identities, _blobs: Blobs) -> Outcome:
    now = look(entry.path)
    if entry.before.kind is Kind.ABSENT:
        return DONE
    if now.kind is not entry.before.kind or not _same(now, entry.before.identity, remade):
        return CONFLICT, "it is another file by now", ""
    _set_metadata(entry.path, entry.before)
    return DONE


_STEPS = {
    Operation.WRITE: _write,
    Operation.DELETE: _delete,
    Operation.RENAME: _rename,
    Operation.MKDIR: _mkdir,
    Operation.LINK: _link,
    Operation.METADATA: _metadata,
}


def _set_metadata(path: str, before: State) -> None:
    """Owner where permitted, mode, extended attributes, and the time of modification last."""
    now = look(path)
    if (before.uid, before.gid) != (now.uid, now.gid):
        with contextlib.suppress(PermissionError):
            os.chown(path, before.uid, before.gid, follow_symlinks=False)
    if before.kind is not Kind.SYMLINK:
        os.chmod(path, before.mode)
        for name in now.xattrs.keys() - before.xattrs.keys():
            os.removexattr(path, name)
        for name, value in before.xattrs.items():
            if now.xattrs.get(name) != value:
                os.setxattr(path, name, value)
    _set_mtime(path, before.mtime_ns)


def _set_mtime(path: str, mtime_ns: int) -> None:
    if not mtime_ns:
        return
    with contextlib.suppress(FileNotFoundError):
        atime_ns = os.lstat(path).st_atime_ns
        os.utime(path, ns=(atime_ns, mtime_ns), follow_symlinks=False)
