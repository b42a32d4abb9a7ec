"""Calls that change a file's length, mode, owner, times or extended attributes."""

from __future__ import annotations

import errno
import os
import struct
import time

from vaultak.floor.opening import AT_FDCWD
from vaultak.floor.places import Place
from vaultak.floor.plan import Answer, Perform, Plan, Request, file_effect, is_file, keep_content, passing
from vaultak.floor.tracee import signed
from vaultak.intercept.paths import printable
from vaultak.wire import ActionType

_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_XATTR_SIZE_MAX = 65_536
_XATTR_NAME_MAX = 256
_UTIME_NOW, _UTIME_OMIT = 0x3FFFFFFF, 0x3FFFFFFE
_NS = 1_000_000_000


def _found(r: Request, directory: int, name: int, *, follow: bool = True) -> Place:
    place = r.place(directory, name, follow=follow)
    if place.stat() is None:
        raise OSError(errno.ENOENT, "no such file")
    return place


def _at(r: Request, flags: int) -> Place:
    """For the `*at` calls: descriptor first, then the name, `flags` as given."""
    if flags & _AT_EMPTY_PATH and not r.text(1):
        return r.finder.descriptor(r[0])
    return _found(r, r[0], 1, follow=not flags & _AT_SYMLINK_NOFOLLOW)


def _changed(r: Request, place: Place, perform: Perform, **payload: object) -> Plan:
    """A change of permissions; descriptors of pipes and sockets are none of our business."""
    if not is_file(place):
        return passing()
    path = place.path
    effect = file_effect(ActionType.PERMISSION_CHANGE, path, r.name, **payload)
    return Plan((effect.but(journal=lambda undo, i: undo.before_chmod(i, path)),), perform)


# -- length ------------------------------------------------------------------------------------------------------


def _truncate(r: Request) -> Plan:
    place, length = _found(r, AT_FDCWD, 0), r[1]

    def perform() -> Answer:
        os.truncate(place.link, length)
        return 0

    effect = file_effect(ActionType.FILE_WRITE, place.path, r.name, length=length)
    return Plan((effect.but(journal=keep_content(place.path)),), perform)


# -- mode and owner ----------------------------------------------------------------------------------------------


def _chmod(r: Request) -> Plan:
    return _moded(r, _found(r, AT_FDCWD, 0), r[1])


def _fchmod(r: Request) -> Plan:
    return _moded(r, r.finder.descriptor(r[0]), r[1])


def _fchmodat(r: Request) -> Plan:
    return _moded(r, _at(r, r[3] if r.name == "fchmodat2" else 0), r[2])


def _moded(r: Request, place: Place, mode: int) -> Plan:
    def perform() -> Answer:
        if place.name:  # a symbolic link: it has no mode of its own
            raise OSError(errno.EOPNOTSUPP, "not supported")
        os.chmod(place.link, mode & 0o7777)
        return 0

    return _changed(r, place, perform, mode=f"{mode & 0o7777:o}")


def _chown(r: Request) -> Plan:
    return _owned(r, _found(r, AT_FDCWD, 0, follow=r.name == "chown"), r[1], r[2])


def _fchown(r: Request) -> Plan:
    return _owned(r, r.finder.descriptor(r[0]), r[1], r[2])


def _fchownat(r: Request) -> Plan:
    return _owned(r, _at(r, r[4]), r[2], r[3])


def _owned(r: Request, place: Place, user: int, group: int) -> Plan:
    uid, gid = signed(user), signed(group)

    def perform() -> Answer:
        if place.name:
            os.chown(place.name, uid, gid, dir_fd=place.fd, follow_symlinks=False)
        else:
            os.chown(place.link, uid, gid)
        return 0

    return _changed(r, place, perform, uid=uid, gid=gid)


# -- extended attributes -----------------------------------------------------------------------------------------


def _attributed(r: Request) -> Plan:
    by_descriptor, follow = r.name[0] == "f", r.name[0] != "l"
    place = r.finder.descriptor(r[0]) if by_descriptor else _found(r, AT_FDCWD, 0, follow=follow)
    attribute = r.tracee.text(r[1], _XATTR_NAME_MAX)
    sets = "set" in r.name
    if sets and r[3] > _XATTR_SIZE_MAX:
        raise OSError(errno.E2BIG, "value too large")
    value = r.tracee.read(r[2], r[3]) if sets and r[3] else b""

    def perform() -> Answer:
        if sets:
            os.setxattr(place.link, attribute, value, r.integer(4), follow_symlinks=not place.name)
        else:
            os.removexattr(place.link, attribute, follow_symlinks=not place.name)
        return 0

    return _changed(r, place, perform, attribute=printable(os.fsdecode(attribute)))


# -- times -------------------------------------------------------------------------------------------------------


def _utime(r: Request) -> Plan:
    times = struct.unpack("=2q", r.tracee.read(r[1], 16)) if r[1] else None
    return _retimed(r, _found(r, AT_FDCWD, 0), times and (times[0] * _NS, times[1] * _NS))


def _utimes(r: Request) -> Plan:
    at = 0 if r.name == "utimes" else 1
    times = struct.unpack("=4q", r.tracee.read(r[at + 1], 32)) if r[at + 1] else None
    ns = times and (times[0] * _NS + times[1] * 1000, times[2] * _NS + times[3] * 1000)
    return _retimed(r, _found(r, r[0] if at else AT_FDCWD, at), ns)


def _utimensat(r: Request) -> Plan:
    times = struct.unpack("=4q", r.tracee.read(r[2], 32)) if r[2] else (0, _UTIME_NOW, 0, _UTIME_NOW)
    place = r.finder.descriptor(r[0]) if not r[1] else _at(r, r[3])
    if times[1] == times[3] == _UTIME_NOW:
        return _retimed(r, place, None)
    info = place.stat()
    if info is None:
        raise OSError(errno.ENOENT, "no such file")
    return _retimed(
        r, place, (_moment(times[0], times[1], info.st_atime_ns), _moment(times[2], times[3], info.st_mtime_ns))
    )


def _moment(seconds: int, ns: int, unchanged: int) -> int:
    if ns == _UTIME_OMIT:
        return unchanged
    if ns == _UTIME_NOW:
        return time.time_ns()
    return seconds * _NS + ns


def _retimed(r: Request, place: Place, ns: tuple[int, int] | None) -> Plan:
    if not is_file(place):
        return passing()
    path = place.path

    def perform() -> Answer:
        if place.name:
            now = time.time_ns()
            os.utime(place.name, ns=ns or (now, now), dir_fd=place.fd, follow_symlinks=False)
        elif ns:
            os.utime(place.link, ns=ns)
        else:
            os.utime(place.link)
        return 0

    effect = file_effect(ActionType.FILE_WRITE, path, r.name)
    return Plan((effect.but(journal=lambda undo, i: undo.before_chmod(i, path)),), perform)


HANDLERS = {
    "truncate": _truncate,
    "chmod": _chmod,
    "fchmod": _fchmod,
    "fchmodat": _fchmodat,
    "fchmodat2": _fchmodat,
    "chown": _chown,
    "lchown": _chown,
    "fchown": _fchown,
    "fchownat": _fchownat,
    **dict.fromkeys(("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"), _attributed),
    "utime": _utime,
    "utimes": _utimes,
    "futimesat": _utimes,
    "utimensat": _utimensat,
}
