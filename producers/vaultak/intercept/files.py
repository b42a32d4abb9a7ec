"""Files: opened, removed, renamed, linked, made, cut, and their permissions.

What is an action. Opening a file is (`file_read` or `file_write`); so is each change to a name or to permissions. A
rename is two: the source goes (`file_delete`) and the target is written (`file_write`); a hard link likewise reads
its source. `shutil.rmtree` is one on the root, judged before anything is gone, and one for each entry, so that no
limit on a single file is passed over; the removal of the root itself is not counted twice. Listing a directory,
`stat`, `chdir` and wrapping an open descriptor are none.
"""

from __future__ import annotations

import os
from types import FrameType
from typing import Any

from vaultak.intercept import held, importing, moving, paths, sockets
from vaultak.intercept.calls import covered, observe
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.held import Journal, keep_content
from vaultak.intercept.patching import patch_function
from vaultak.intercept.plain import plain
from vaultak.intercept.trust import LIBRARY_ROOTS, Origin, origins
from vaultak.repeat import Fixed
from vaultak.wire import ActionType

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_WRITE_LETTERS = frozenset("wax+")
_MODES = 64
_OPENER = 7
"""Its position among the arguments of `open`."""
_NO_FOLLOW, _INERT = os.O_NOFOLLOW, held.INERT
_BRACKETS = ("<", b"<")
_FOREIGN, _IMPORTER, _FILE_READ = Origin.FOREIGN, Origin.IMPORTER, ActionType.FILE_READ
_PATH_ONLY = getattr(os, "O_PATH", 0)
_PUBLIC = ("/usr/share/zoneinfo/", "/etc/localtime", "/etc/mime.types", "/usr/share/mime/")
"""System data that the standard library reads on its own behalf."""


def _effect(kind: ActionType, path: str, payload: dict[str, Any], journal: Journal | None = None) -> Effect:
    return Effect(kind, paths.printable(path), payload, journal)


def _opened(o: Occurrence) -> Effects:
    name, mode, flags = o.args
    writes = flags & _WRITES != 0 or (mode != "r" and isinstance(mode, str) and not _WRITE_LETTERS.isdisjoint(mode))
    if type(name) is not str and isinstance(name := plain(name), int):
        if importing.caches(o.frame, paths.of_descriptor(name) or ""):
            return NONE
        if writes and (o.call is None or o.call.name != "open" or o.call.argument(_OPENER, "opener") is None):
            return held.through(name, "open", writes=True) or sockets.sent_through(name, "open")
        return held.through(name, "open", writes=writes)
    if flags & _PATH_ONLY == _PATH_ONLY != 0:
        return NONE
    call, frame = o.call, o.frame
    dir_fd = -1
    if call is not None:
        if call.name == "open":
            if (call.kwargs or len(call.args) > _OPENER) and call.argument(_OPENER, "opener") is not None:
                return NONE  # the opener opens, and is seen doing it
        elif call.name == "os.open" and isinstance(given := plain(call.kwargs.get("dir_fd")), int):
            dir_fd = given  # the event leaves it out
    origin = _FOREIGN if frame is None else origins.of(frame.f_code)
    if origin is _IMPORTER and frame is not None:
        if importing.caches(frame, paths.text(name)) if writes else importing.reads(frame):
            return NONE
        frame = importing.user(frame)
        origin = _FOREIGN if frame is None else origins.of(frame.f_code)
    path = paths.resolve(name, dir_fd, follow=not flags & _NO_FOLLOW)
    if path is None or path in _INERT:
        return NONE
    payload = _payload(mode if isinstance(mode, str) else _mode(flags))
    if writes:
        effect = _effect(ActionType.FILE_WRITE, path, payload, keep_content(path))
        return (effect.but(allowed=held.remember(path, writes=True)),)
    if name[:1] in _BRACKETS and not os.path.lexists(name):
        return NONE  # the compiler looks for the line of a syntax error in `<string>`
    if mode is None:
        if paths.is_directory(path) or is_upkeep(path, frame, origin):
            return NONE
        # What `os.open` gives is a bare descriptor: its uses belong to this action.
        return (Effect(_FILE_READ, paths.printable(path), payload, allowed=held.remember(path, writes=False)),)
    if (origin is not _FOREIGN or frame is None) and is_upkeep(path, frame, origin):
        return NONE
    return (Effect(_FILE_READ, path if path.isascii() else paths.printable(path), payload),)


_payloads: dict[str, Fixed] = {}


def _payload(mode: str) -> Fixed:
    if (known := _payloads.get(mode)) is not None:
        return known
    made = Fixed(op="open", mode=mode)
    return _payloads.setdefault(mode, made) if len(_payloads) < _MODES else made


def _mode(flags: int) -> str:
    if not flags & (os.O_WRONLY | os.O_RDWR):
        return "r"
    letter = "a" if flags & os.O_APPEND else "x" if flags & os.O_EXCL else "w" if flags & os.O_TRUNC else "r"
    return letter + ("+" if flags & os.O_RDWR or letter == "r" else "")


def is_upkeep(path: str, frame: FrameType | None, origin: Origin) -> bool:
    """Reads that libraries do on their own behalf: their installed files, source lines for a traceback, time zones."""
    if origin is _FOREIGN and frame is not None:
        return False
    if path.startswith(_PUBLIC):
        return frame is None or origin is not Origin.FOREIGN
    if path.startswith(LIBRARY_ROOTS):
        return origins.behind_stdlib(frame) is not Origin.FOREIGN or _reads_source_lines(frame)
    return origin is Origin.STDLIB and _reads_source_lines(frame) and importing.is_loaded(path)


def _reads_source_lines(frame: FrameType | None) -> bool:
    while frame is not None and origins.of(frame.f_code) is Origin.STDLIB:
        if frame.f_globals.get("__name__") == "linecache":
            return True
        frame = frame.f_back
    return False


def _removed(o: Occurrence) -> Effects:
    path = paths.resolve(o.args[0], dir_fd=o.args[1], follow=False)
    if path is None or importing.caches(o.frame, path):
        return NONE
    return (_effect(ActionType.FILE_DELETE, path, {"op": o.event}, lambda undo, i: undo.before_delete(i, path)),)


def _removed_directory(o: Occurrence) -> Effects:
    path = paths.resolve(o.args[0], dir_fd=o.args[1], follow=False)
    if path is None:
        return NONE
    effect = _effect(ActionType.FILE_DELETE, path, {"op": o.event}, lambda undo, i: undo.before_delete(i, path))
    return (effect.but(action_id=covered(("tree", path))),)


def _removed_tree(o: Occurrence) -> Effects:
    dir_fd = o.args[1] if len(o.args) > 1 and isinstance(o.args[1], int) else -1
    path = paths.resolve(o.args[0], dir_fd=dir_fd, follow=False)
    if path is None:
        return NONE
    call = o.call

    def cover(action_id: str) -> None:
        if call is not None and call.name == "shutil.rmtree":
            call.covered["tree", path] = action_id

    return (Effect(ActionType.FILE_DELETE, paths.printable(path), {"op": o.event, "recursive": True}, None, "", cover),)


def _renamed(o: Occurrence) -> Effects:
    source, target, source_fd, target_fd = o.args
    old = paths.resolve(source, dir_fd=source_fd, follow=False)
    new = paths.resolve(target, dir_fd=target_fd, follow=False)
    if old is None or new is None or importing.caches(o.frame, new):
        return NONE
    shown_old, shown_new = paths.printable(old), paths.printable(new)
    return (
        Effect(ActionType.FILE_DELETE, shown_old, {"op": o.event, "renamed_to": shown_new}),
        Effect(
            ActionType.FILE_WRITE,
            shown_new,
            {"op": o.event, "renamed_from": shown_old},
            lambda undo, i: undo.before_rename(i, old, new),
        ),
        *moving.within(old, new, o.event),
    )


def _linked(o: Occurrence) -> Effects:
    source, target, source_fd, target_fd = o.args
    old = paths.resolve(source, dir_fd=source_fd)
    new = paths.resolve(target, dir_fd=target_fd, follow=False)
    if old is None or new is None:
        return NONE
    payload = {"op": o.event, "source": paths.printable(old)}
    return (
        _effect(ActionType.FILE_READ, old, {"op": o.event, "linked_as": paths.printable(new)}),
        _effect(ActionType.FILE_WRITE, new, payload, keep_content(new)),
    )


def _symlinked(o: Occurrence) -> Effects:
    target, name, dir_fd = o.args
    path = paths.resolve(name, dir_fd=dir_fd, follow=False)
    if path is None:
        return NONE
    goal = os.path.realpath(os.path.join(os.path.dirname(path), paths.text(target)))
    payload = {"op": o.event, "target": paths.printable(goal)}
    return (_effect(ActionType.FILE_WRITE, path, payload, lambda undo, i: undo.before_symlink(i, path)),)


def _made_directory(o: Occurrence) -> Effects:
    path = paths.resolve(o.args[0], dir_fd=o.args[2], follow=False)
    if path is None or importing.caches(o.frame, path):
        return NONE
    return (_effect(ActionType.FILE_WRITE, path, {"op": o.event}, lambda undo, i: undo.before_mkdir(i, path)),)


def _truncated(o: Occurrence) -> Effects:
    path = paths.resolve(o.args[0])
    if path is None:
        return NONE
    return (_effect(ActionType.FILE_WRITE, path, {"op": o.event, "length": o.args[1]}, keep_content(path)),)


def _permissions(o: Occurrence) -> Effects:
    """chmod, chown and extended attributes: the path comes first, a `dir_fd` last where there is one."""
    fd = o.args[-1] if o.event in ("os.chmod", "os.chown") else -1
    path = paths.resolve(o.args[0], dir_fd=fd)
    if path is None:
        return NONE
    payload: dict[str, Any] = {"op": o.event}
    if o.event == "os.chmod":
        payload["mode"] = f"{o.args[1]:o}"
    elif o.event == "os.chown":
        payload |= {"uid": o.args[1], "gid": o.args[2]}
    else:
        payload["attribute"] = paths.text(o.args[1])
    return (_effect(ActionType.PERMISSION_CHANGE, path, payload, lambda undo, i: undo.before_chmod(i, path)),)


def _retimed(o: Occurrence) -> Effects:
    path = paths.resolve(o.args[0], dir_fd=o.args[3])
    if path is None:
        return NONE
    return (_effect(ActionType.FILE_WRITE, path, {"op": o.event}, lambda undo, i: undo.before_chmod(i, path)),)


CLASSIFIERS: dict[str, Classifier] = {
    "open": _opened,
    "os.remove": _removed,
    "os.rmdir": _removed_directory,
    "os.rename": _renamed,
    "os.link": _linked,
    "os.symlink": _symlinked,
    "os.mkdir": _made_directory,
    "os.truncate": _truncated,
    "os.chmod": _permissions,
    "os.chown": _permissions,
    "os.setxattr": _permissions,
    "os.removexattr": _permissions,
    "os.utime": _retimed,
    "shutil.rmtree": _removed_tree,
}

_OS_CALLS = (
    "open", "remove", "unlink", "rmdir", "rename", "replace", "link", "symlink", "mkdir", "truncate", "ftruncate",
    "chmod", "fchmod", "lchown", "chown", "fchown", "setxattr", "removexattr", "utime",
)  # fmt: skip


def patch() -> None:
    """Give every way to open or change a file its outcome."""
    patch_function(("builtins", "io", "_io"), "open", observe("open"))
    for name in _OS_CALLS:
        patch_function(("os", "posix"), name, observe(f"os.{name}"))
    patch_function(("shutil",), "rmtree", observe("shutil.rmtree"))
