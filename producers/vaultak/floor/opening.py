"""`open` and its kin: the supervisor opens what it judged and hands the descriptor over."""

from __future__ import annotations

import errno
import os
import stat
import struct

from vaultak.floor.places import Place
from vaultak.floor.plan import Answer, Descriptor, Perform, Plan, Request, file_effect, is_file, keep_content, umask_of
from vaultak.floor.system_files import is_inert, is_system_read
from vaultak.intercept.effect import NONE, Effects
from vaultak.wire import ActionType

AT_FDCWD = -100
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_TMPFILE = os.O_TMPFILE & ~os.O_DIRECTORY
_OPEN_HOW = struct.Struct("=QQQ")
_OWN_TERMINAL = os.makedev(5, 0)
_PSEUDO_TERMINALS = range(136, 144)


def _open(r: Request) -> Plan:
    return _plan(r, AT_FDCWD, 0, r.integer(1), r[2])


def _openat(r: Request) -> Plan:
    return _plan(r, r[0], 1, r.integer(2), r[3])


def _creat(r: Request) -> Plan:
    return _plan(r, AT_FDCWD, 0, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, r[1])


def _openat2(r: Request) -> Plan:
    if r[3] < _OPEN_HOW.size:
        raise OSError(errno.EINVAL, "short open_how")
    flags, mode, resolve = _OPEN_HOW.unpack(r.tracee.read(r[2], _OPEN_HOW.size))
    if resolve:
        raise OSError(errno.ENOSYS, "limits of resolution are not known here")
    return _plan(r, r[0], 1, flags & 0x7FFFFFFF, mode)


def _plan(r: Request, directory: int, name: int, flags: int, mode: int) -> Plan:
    exclusive = flags & os.O_CREAT and flags & os.O_EXCL
    place = r.place(directory, name, follow=not (flags & os.O_NOFOLLOW or exclusive))
    info = place.stat()
    if info is None and not flags & os.O_CREAT:
        raise OSError(errno.ENOENT, "no such file")
    kind = stat.S_IFMT(info.st_mode) if info is not None else stat.S_IFREG
    if kind == stat.S_IFCHR and info is not None and info.st_rdev == _OWN_TERMINAL:
        return Plan(NONE, lambda: _terminal(r, flags), needs_rights=False)
    effects = NONE if flags & os.O_PATH else _effects(place, kind, flags)
    system = bool(effects) and not flags & _WRITES and is_system_read(place.path, r.tracee)
    return Plan(
        effects,
        _opens(r, place, flags, mode),
        may_block=kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK) and not is_inert(place.path),
        system=system,
    )


def _effects(place: Place, kind: int, flags: int) -> Effects:
    if not is_file(place) or is_inert(place.path):
        return NONE
    if flags & _TMPFILE:
        return (file_effect(ActionType.FILE_WRITE, place.path, "open", unnamed=True),)
    if flags & _WRITES:
        effect = file_effect(ActionType.FILE_WRITE, place.path, "open", mode=_mode(flags))
        return (effect.but(journal=keep_content(place.path)) if kind == stat.S_IFREG else effect,)
    if kind == stat.S_IFDIR:
        return NONE
    return (file_effect(ActionType.FILE_READ, place.path, "open", mode="r"),)


def _mode(flags: int) -> str:
    letter = "a" if flags & os.O_APPEND else "x" if flags & os.O_EXCL else "w" if flags & os.O_TRUNC else "r"
    return letter + ("+" if flags & os.O_RDWR or letter == "r" else "")


def _opens(r: Request, place: Place, flags: int, mode: int) -> Perform:
    ours = flags | os.O_CLOEXEC | os.O_NOCTTY

    def perform() -> Answer:
        if place.name:
            with umask_of(r.tracee):
                fd = os.open(place.name, ours | os.O_NOFOLLOW, mode & 0o7777, dir_fd=place.fd)
        elif flags & os.O_CREAT and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, "file exists")
        elif flags & os.O_CREAT and stat.S_ISDIR(os.fstat(place.fd).st_mode):
            raise OSError(errno.EISDIR, "is a directory")
        elif flags & _TMPFILE:
            with umask_of(r.tracee):
                fd = os.open(place.link, ours, mode & 0o7777)
        else:
            fd = os.open(place.link, ours & ~(os.O_CREAT | os.O_NOFOLLOW))
        return Descriptor(fd, bool(flags & os.O_CLOEXEC))

    return perform


def _terminal(r: Request, flags: int) -> Answer:
    """`/dev/tty` is another device for each session: the one of the caller's."""
    with open(f"/proc/{r.tracee.tid}/stat", "rb", buffering=0) as f:
        device = int(f.read().rpartition(b")")[2].split()[4])
    if os.major(device) not in _PSEUDO_TERMINALS:
        raise OSError(errno.ENXIO, "no terminal")
    number = os.minor(device) + (os.major(device) - _PSEUDO_TERMINALS.start) * 256
    fd = os.open(f"/dev/pts/{number}", flags | os.O_CLOEXEC | os.O_NOCTTY)
    return Descriptor(fd, bool(flags & os.O_CLOEXEC))


HANDLERS = {"open": _open, "openat": _openat, "creat": _creat, "openat2": _openat2}
