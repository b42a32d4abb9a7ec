"""Whether the import system is importing, or somebody has its functions do something else.

What an import reads and caches is no action of its own: its code is judged when it is about to run. The functions
that read and cache can be called by anybody, though, with any path and under any loader, so what counts is who is on
the stack: `exec_module` of a loader that nobody has bent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from operator import is_
from types import FrameType, FunctionType
from typing import Any

from vaultak.intercept.trust import LIBRARY_ROOTS, Origin, origins

MAX_LOADED = 65_536
"""Source files remembered as loaded; the lines of one forgotten are read by an action of its own, nothing else."""

MAX_CLASSES = 256
"""Loaders' classes remembered as looked through."""

_PREFIX = sys.pycache_prefix
_WRITERS = ("_write_atomic", "set_data")
_READING = ("get_data", "get_code", "exec_module")
_CACHE = "__pycache__"

_loaded: set[str] = set()
_resolved: dict[str, str] = {}


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The import system's own frames, from the innermost on, up to the first of anybody else."""
    while frame is not None:
        origin = origins.of(frame.f_code)
        if origin is Origin.IMPORTER:
            yield frame
        elif origin is not Origin.WRAPPER:
            return
        frame = frame.f_back


def user(frame: FrameType | None) -> FrameType | None:
    """Who uses the import system's functions: the first frame that is none of its own."""
    while frame is not None and origins.of(frame.f_code) in (Origin.IMPORTER, Origin.WRAPPER):
        frame = frame.f_back
    return frame


def reads(frame: FrameType) -> bool:
    """Whether a file is read in order to run a module, which is judged then."""
    steps = [own for own in _frames(frame) if own.f_code.co_name in _READING]
    if [own.f_code.co_name for own in steps[:3]] != [*_READING]:
        return False
    loader = steps[1].f_locals.get("self")
    return loader is steps[2].f_locals.get("self") and is_genuine(loader)


def caches(frame: FrameType | None, path: str) -> bool:
    """Whether compiled code of a module that is being imported is kept at that path."""
    if frame is None or origins.of(frame.f_code) is not Origin.IMPORTER or frame.f_code.co_name not in _WRITERS:
        return False
    if _CACHE not in (os.path.basename(path), os.path.basename(os.path.dirname(path))) and not (
        _PREFIX and path.startswith(os.path.join(_PREFIX, ""))
    ):
        return False
    loader, executes = None, False
    for own in _frames(frame):
        if own.f_code.co_name == "get_code":
            loader = own.f_locals.get("self")
        executes = executes or own.f_code.co_name == "exec_module"
    return executes and loader is not None and is_genuine(loader)


def is_genuine(loader: object) -> bool:
    """Whether a loader does what the import system's or an installed library's class says: no method is foreign."""
    return not any(map(callable, vars(loader).values())) and all(map(_is_as_written, type(loader).__mro__[:-1]))


_written: dict[type, tuple[object, ...]] = {}
"""The members of classes that were looked through: a class none of whose members was exchanged is what it was."""


def _is_as_written(kind: type) -> bool:
    members = tuple(vars(kind).values())
    known = _written.get(kind, ())
    if members and len(known) == len(members) and all(map(is_, known, members)):
        return True
    if any(isinstance(m, property) or (isinstance(m, FunctionType) and _is_foreign(m)) for m in members):
        return False
    if len(_written) < MAX_CLASSES:
        _written[kind] = members
    return True


def forget_classes() -> None:
    """Look through them again: a function's code has been replaced."""
    _written.clear()


def _is_foreign(function: FunctionType) -> bool:
    return origins.of(function.__code__) is Origin.FOREIGN


def is_frozen(frame: FrameType) -> bool:
    """Whether a module of the interpreter's own is run."""
    loader = sys.modules["_frozen_importlib"].FrozenImporter
    return frame.f_code is _code_of(loader, "exec_module")


def _code_of(owner: Any, name: str) -> object:
    return getattr(getattr(owner, name), "__code__", None)


def file_of(loader: object) -> str:
    """The file that a loader takes its code from; empty where that is unknown.

    Not the name in the code object: what comes out of a compiled file says what its author liked.
    """
    for attribute in ("path", "archive"):
        file = getattr(loader, attribute, None)
        if type(file) is str and file:
            return file
    return ""


def is_installed(loader: object) -> bool:
    """Whether a loader brings code of the standard library or of an installed one."""
    if loader is None or not is_genuine(loader):
        return False
    file = file_of(loader)
    return file.startswith(LIBRARY_ROOTS) or os.path.realpath(file).startswith(LIBRARY_ROOTS)


def note_loaded() -> None:
    """Remember what the host has imported. To be called outside every monitor: an agent can invent modules."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if type(file) is str:
            note(file)


def note(file: str) -> None:
    """A source file whose code is in this process from now on."""
    if len(_loaded) < MAX_LOADED and file.endswith(".py"):
        _loaded.add(file)


def is_loaded(path: str) -> bool:
    """Whether the code of a source file is in this process already: showing its lines tells nothing new."""
    if path in _loaded:
        return True
    for file in _loaded.difference(_resolved):
        _resolved[file] = os.path.realpath(file)
    return path in _resolved.values()
