"""Names of files as the kernel sees them: links, `..`, directory descriptors and `/proc/self/fd` resolved.

The kernel itself resolves: a descriptor opened with `O_PATH` touches nothing and its link in `/proc/self/fd` is the
canonical name. That is a third of the price of `os.path.realpath`, and there is no cache that could be stale.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from types import FunctionType
from typing import cast

from vaultak._native import core
from vaultak.intercept.plain import number, plain
from vaultak.intercept.trust import origins

_O_PATH = getattr(os, "O_PATH", 0)
_FLAGS = _O_PATH | getattr(os, "O_CLOEXEC", 0)
_DELETED = " (deleted)"
_open, _close, _readlink, _stat = os.open, os.close, os.readlink, os.stat


def _name_in_python(path: str, dir_fd: int | None) -> str | None:
    """The canonical name of something that exists; `None` when it does not, or cannot be asked."""
    if not _O_PATH:
        return None
    try:
        fd = _open(path, _FLAGS, dir_fd=dir_fd)
    except OSError:
        return None
    try:
        name = _readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None
    finally:
        _close(fd)
    return None if name.endswith(_DELETED) or not name.startswith("/") else name


origins.exempt(cast(FunctionType, _name_in_python))
_kernel_name: Callable[[str, int | None], str | None] = core.kernel_name if core is not None else _name_in_python


def of_descriptor(fd: int) -> str | None:
    """The file behind a descriptor; `None` for a pipe, a socket or a closed one."""
    try:
        name = _readlink(f"/proc/self/fd/{number(fd)}")
    except OSError:
        return None
    if not name.startswith("/"):
        return None
    return name.removesuffix(_DELETED)


def text(path: object) -> str:
    """A path as `str`, exactly as the kernel would get it. Raises `TypeError` for what is no path."""
    if type(path) is str:
        return path
    exact = plain(path)
    return exact if type(exact) is str else os.fsdecode(exact)


def resolve(path: object, dir_fd: int = -1, *, follow: bool = True) -> str | None:
    """The absolute real path of an argument: str, bytes, path-like or descriptor. `None` for what is no file.

    With `follow=False` the last component stays as it is: what removing and renaming act on. What does not exist
    yet is named by its real directory.
    """
    if type(path) is str:
        name = path
    elif isinstance(path, int):
        return of_descriptor(path)
    else:
        name = text(path)
    directory_fd = dir_fd if dir_fd >= 0 and not name.startswith("/") else None
    if follow and (found := _kernel_name(name, directory_fd)):
        return found
    head, slash, tail = name.rstrip("/").rpartition("/")
    if tail not in ("", ".", "..") and (parent := _kernel_name(head or slash or ".", directory_fd)):
        target = f"{parent.rstrip('/')}/{tail}"
        if not (follow and _is_link(target)):
            return target
        name, directory_fd = target, None
    if directory_fd is not None:
        name = os.path.join(of_descriptor(directory_fd) or "/", name)
    if follow:
        return os.path.realpath(name)
    return os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))


def _is_link(path: str) -> bool:
    try:
        _readlink(path)
    except OSError:
        return False
    return True


def is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(_stat(path).st_mode)
    except (OSError, ValueError):
        return False


def printable(path: str) -> str:
    """A path as text that every encoder takes: bytes that are no UTF-8 become `\\xNN`."""
    if path.isascii():
        return path
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
