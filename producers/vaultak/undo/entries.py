"""What the journal holds: the state of a path before an action touched it."""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Callable

import msgspec

from vaultak.undo.birth import born_ns


class Kind(enum.StrEnum):
    ABSENT = "absent"
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """A path at one moment. `blob` names the kept content of a file; empty when there is none."""

    kind: Kind
    identity: str = ""
    """Inode and time of birth: an inode number alone is soon given to another file."""
    mode: int = 0
    uid: int = -1
    gid: int = -1
    mtime_ns: int = 0
    target: str = ""
    blob: str = ""
    xattrs: dict[str, bytes] = {}
    lost: str = ""
    """Why the content could not be kept."""
    size: int = 0
    content: bytes | None = None
    """Of a small file that is written to: it is kept right here."""


class Operation(enum.StrEnum):
    WRITE = "write"
    DELETE = "delete"
    RENAME = "rename"
    MKDIR = "mkdir"
    LINK = "link"
    METADATA = "metadata"


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One path that one action was about to touch. Times are those of the parent directory before."""

    n: int
    action_id: str
    op: Operation
    path: str
    before: State
    parent_mtime_ns: int = 0
    source: str = ""
    """Of a rename: where it came from."""
    source_state: State | None = None
    source_parent_mtime_ns: int = 0


def to_text(name: str) -> str:
    """A file name as JSON can carry it: names are bytes, and need not be UTF-8."""
    return os.fsencode(name).decode("latin-1")


def to_name(text: str) -> str:
    """The inverse of `to_text`. Raises `UnicodeEncodeError` for what it never wrote."""
    return os.fsdecode(text.encode("latin-1"))


def recode_state(state: State, translate: Callable[[str], str]) -> State:
    """`state` with its names translated."""
    if not state.target and not state.xattrs:
        return state
    xattrs = {translate(name): value for name, value in state.xattrs.items()}
    return msgspec.structs.replace(state, target=translate(state.target), xattrs=xattrs)


def recode(entry: Entry, translate: Callable[[str], str]) -> Entry:
    """`entry` with its names translated."""

    return msgspec.structs.replace(
        entry,
        path=translate(entry.path),
        source=translate(entry.source),
        before=recode_state(entry.before, translate),
        source_state=recode_state(entry.source_state, translate) if entry.source_state is not None else None,
    )


class Created(msgspec.Struct, frozen=True, tag="created"):
    """The file that entry `n` led to, once it is known."""

    n: int
    identity: str


class Settled(msgspec.Struct, frozen=True, tag="settled"):
    """What entry `n` left at its path once nothing wrote there any more: what differs from it later is another's."""

    n: int
    state: State


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The content of entry `n` is about to be put back: what is there from now on may be half of it."""

    n: int


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """A rollback of these entries was begun: whoever finds it unfinished finishes it."""

    entries: tuple[int, ...]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Entry `n` has been taken back, or given up. `identity`: of a file that had to be made anew."""

    n: int
    status: str
    detail: str = ""
    identity: str = ""


def look(path: str) -> State:
    """The state of a path now, without its content. Never follows a symbolic link."""
    try:
        found = os.lstat(path)
    except OSError:
        return State(Kind.ABSENT)
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), Kind.OTHER)
    return State(
        kind,
        identity=f"{found.st_ino}:{born_ns(path)}",
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_ns=found.st_mtime_ns,
        size=found.st_size if kind is Kind.FILE else 0,
        target=os.readlink(path) if kind is Kind.SYMLINK else "",
        xattrs={} if kind is Kind.SYMLINK else _xattrs(path),
    )


_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK}


def _xattrs(path: str) -> dict[str, bytes]:
    if not hasattr(os, "listxattr"):
        return {}
    try:
        return {name: os.getxattr(path, name) for name in os.listxattr(path)}
    except OSError:
        return {}


def same_content(one: State, other: State) -> bool:
    """Whether nobody wrote between the two: size and time of modification are the same."""
    return (one.kind, one.size, one.mtime_ns) == (other.kind, other.size, other.mtime_ns)


def mtime_ns(path: str) -> int:
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return 0
