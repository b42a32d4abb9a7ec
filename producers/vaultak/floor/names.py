"""Calls that make, remove, rename and link names: done by the supervisor, on the directories it judged."""

from __future__ import annotations

import errno
import os
import stat

from vaultak.floor import kernel
from vaultak.floor.opening import AT_FDCWD
from vaultak.floor.places import Place
from vaultak.floor.plan import Answer, Plan, Request, file_effect, is_file, keep_content, umask_of
from vaultak.intercept.effect import Effect
from vaultak.intercept.paths import printable
from vaultak.wire import ActionType

_AT_REMOVEDIR = 0x200
_AT_SYMLINK_FOLLOW = 0x400
_AT_EMPTY_PATH = 0x1000
_RENAME_EXCHANGE = 2


def _entry(r: Request, directory: int, name: int) -> Place:
    """The entry that is to be made, removed or renamed: never followed, never a directory's own `.`."""
    place = r.place(directory, name, follow=False)
    if not place.name:
        raise OSError(errno.EBUSY if place.path == "/" else errno.EINVAL, "no entry of a directory")
    return place


def _existing(place: Place) -> os.stat_result:
    info = place.stat()
    if info is None:
        raise OSError(errno.ENOENT, "no such file")
    return info


def _missing(place: Place) -> None:
    if place.stat() is not None:
        raise OSError(errno.EEXIST, "file exists")


# -- removing ----------------------------------------------------------------------------------------------------


def _remove(r: Request, place: Place, *, directory: bool) -> Plan:
    info = _existing(place)
    if stat.S_ISDIR(info.st_mode) != directory:
        raise OSError(errno.ENOTDIR if directory else errno.EISDIR, "wrong kind of file")
    path = place.path

    def perform() -> Answer:
        (os.rmdir if directory else os.unlink)(place.name, dir_fd=place.fd)
        return 0

    effect = file_effect(ActionType.FILE_DELETE, path, r.name)
    return Plan((effect.but(journal=lambda undo, i: undo.before_delete(i, path)),), perform)


def _unlink(r: Request) -> Plan:
    return _remove(r, _entry(r, AT_FDCWD, 0), directory=False)


def _rmdir(r: Request) -> Plan:
    return _remove(r, _entry(r, AT_FDCWD, 0), directory=True)


def _unlinkat(r: Request) -> Plan:
    return _remove(r, _entry(r, r[0], 1), directory=bool(r[2] & _AT_REMOVEDIR))


# -- renaming ----------------------------------------------------------------------------------------------------


def _rename(r: Request) -> Plan:
    return _renamed(r, _entry(r, AT_FDCWD, 0), _entry(r, AT_FDCWD, 1), 0)


def _renameat(r: Request) -> Plan:
    flags = r[4] & 0xFFFFFFFF if r.name == "renameat2" else 0
    return _renamed(r, _entry(r, r[0], 1), _entry(r, r[2], 3), flags)


def _renamed(r: Request, source: Place, target: Place, flags: int) -> Plan:
    _existing(source)
    old, new = source.path, target.path

    def perform() -> Answer:
        kernel.rename(source.fd, source.name, target.fd, target.name, flags)
        return 0

    gone = file_effect(ActionType.FILE_DELETE, old, r.name, renamed_to=printable(new))
    made = Effect(
        ActionType.FILE_WRITE,
        printable(new),
        {"op": r.name, "renamed_from": printable(old)},
        lambda undo, i: undo.before_rename(i, old, new),
    )
    if flags & _RENAME_EXCHANGE:
        swapped = (
            file_effect(ActionType.FILE_DELETE, new, r.name, exchanged_with=printable(old)),
            file_effect(ActionType.FILE_WRITE, old, r.name, exchanged_with=printable(new)),
        )
        return Plan((gone, made.but(journal=None), *swapped), perform)
    return Plan((gone, made), perform)


# -- linking -----------------------------------------------------------------------------------------------------


def _link(r: Request) -> Plan:
    return _linked(r, r.place(AT_FDCWD, 0, follow=False), _entry(r, AT_FDCWD, 1))


def _linkat(r: Request) -> Plan:
    if r[4] & _AT_EMPTY_PATH and not r.text(1):
        source = r.finder.descriptor(r[0])
    else:
        source = r.place(r[0], 1, follow=bool(r[4] & _AT_SYMLINK_FOLLOW))
    return _linked(r, source, _entry(r, r[2], 3))


def _linked(r: Request, source: Place, target: Place) -> Plan:
    _existing(source)
    _missing(target)
    old, new = source.path, target.path

    def perform() -> Answer:
        os.link(
            source.name or source.link,
            target.name,
            src_dir_fd=source.fd if source.name else None,
            dst_dir_fd=target.fd,
            follow_symlinks=not source.name,
        )
        return 0

    made = file_effect(ActionType.FILE_WRITE, new, r.name, source=printable(old))
    read = file_effect(ActionType.FILE_READ, old, r.name, linked_as=printable(new))
    made = made.but(journal=keep_content(new))
    return Plan((read, made) if is_file(source) else (made,), perform)


def _symlink(r: Request) -> Plan:
    return _symlinked(r, _entry(r, AT_FDCWD, 1))


def _symlinkat(r: Request) -> Plan:
    return _symlinked(r, _entry(r, r[1], 2))


def _symlinked(r: Request, place: Place) -> Plan:
    _missing(place)
    target, path = r.text(0), place.path
    goal = os.path.realpath(os.path.join(os.path.dirname(path), os.fsdecode(target)))

    def perform() -> Answer:
        os.symlink(target, place.name, dir_fd=place.fd)
        return 0

    effect = file_effect(ActionType.FILE_WRITE, path, r.name, target=printable(goal))
    return Plan((effect.but(journal=lambda undo, i: undo.before_symlink(i, path)),), perform)


# -- making ------------------------------------------------------------------------------------------------------


def _mkdir(r: Request) -> Plan:
    return _made_directory(r, r.place(AT_FDCWD, 0, follow=False), r[1])


def _mkdirat(r: Request) -> Plan:
    return _made_directory(r, r.place(r[0], 1, follow=False), r[2])


def _made_directory(r: Request, place: Place, mode: int) -> Plan:
    _missing(place)
    path = place.path

    def perform() -> Answer:
        with umask_of(r.tracee):
            os.mkdir(place.name, mode & 0o7777, dir_fd=place.fd)
        return 0

    effect = file_effect(ActionType.FILE_WRITE, path, r.name)
    return Plan((effect.but(journal=lambda undo, i: undo.before_mkdir(i, path)),), perform)


def _mknod(r: Request) -> Plan:
    return _made_node(r, r.place(AT_FDCWD, 0, follow=False), r[1], r[2])


def _mknodat(r: Request) -> Plan:
    return _made_node(r, r.place(r[0], 1, follow=False), r[2], r[3])


def _made_node(r: Request, place: Place, mode: int, device: int) -> Plan:
    _missing(place)
    kind = stat.S_IFMT(mode) or stat.S_IFREG

    def perform() -> Answer:
        with umask_of(r.tracee):
            os.mknod(place.name, kind | mode & 0o7777, device & 0xFFFFFFFF, dir_fd=place.fd)
        return 0

    effect = file_effect(ActionType.FILE_WRITE, place.path, r.name)
    return Plan((effect.but(journal=keep_content(place.path)),), perform)


HANDLERS = {
    "unlink": _unlink,
    "unlinkat": _unlinkat,
    "rmdir": _rmdir,
    "rename": _rename,
    "renameat": _renameat,
    "renameat2": _renameat,
    "link": _link,
    "linkat": _linkat,
    "symlink": _symlink,
    "symlinkat": _symlinkat,
    "mkdir": _mkdir,
    "mkdirat": _mkdirat,
    "mknod": _mknod,
    "mknodat": _mknodat,
}
