"""Whose code is running: the SDK's, the import system's, the standard library's, an installed library's, or foreign.

Exemptions hang on the frame that caused an event, never on a flag: a flag would also cover a signal handler that
happens to run while it is set. Agent code cannot pass for the SDK's by choosing a file name: a code object counts
as the SDK's only when it equals one compiled from the SDK's own files.
"""

from __future__ import annotations

import enum
import importlib._bootstrap
import importlib._bootstrap_external
import os
import site
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import cast

from vaultak._native import core

_identity: Callable[[object], int] = id if core is not None else cast(Callable[[object], int], object.__hash__)
"""Made of the address, either way. `id` raises an audit event, and a hook in Python costs more than the look-up that it
was for; the compiled core looks up by `id`."""

MAX_KNOWN_CODES = 16_384
"""Code objects whose origin is remembered (and which are kept alive by that); beyond it the memory starts afresh."""

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SDK_ROOTS = tuple(os.path.join(root, "") for root in dict.fromkeys((_HERE, os.path.realpath(_HERE))))
_UNTRUSTED = tuple(root + part for root in SDK_ROOTS for part in ("intercept/", "integrations/", "actions.py"))
"""Parts of the SDK that call foreign functions in their own frames: what those do is the agent's doing."""

_CARRIERS = frozenset({"os", "posixpath", "genericpath", "pathlib", "shutil"})
"""Plain file helpers the SDK itself calls: an event in them belongs to whoever called them."""


_COMPILED = frozenset(
    f"{loader}.{step}"
    for loader in ("ExtensionFileLoader", "BuiltinImporter")
    for step in ("create_module", "exec_module")
)
"""Where the import system runs compiled modules."""


class Origin(enum.IntEnum):
    WRAPPER = -1
    """A patch's own frame: what happens in it is its caller's doing."""
    SDK = 0
    IMPORTER = 1
    STDLIB = 2
    LIBRARY = 3
    FOREIGN = 4


_WRAPPER, _SDK = Origin.WRAPPER, Origin.SDK
_OTHERS = (Origin.FOREIGN, Origin.LIBRARY, Origin.IMPORTER)
"""Whose frames are never the SDK's doing, whoever called them."""


def _roots(*names: str) -> tuple[str, ...]:
    paths = {sysconfig.get_path(name) for name in names}
    paths |= {sysconfig.get_path(name, vars={"base": sys.base_prefix, "platbase": sys.base_prefix}) for name in names}
    return tuple(sorted({os.path.join(form, "") for path in paths if path for form in (path, os.path.realpath(path))}))


_ZIPPED = os.path.join(sys.base_prefix, sys.platlibdir, f"python{sys.version_info[0]}{sys.version_info[1]}.zip")
STDLIB_ROOTS = (*_roots("stdlib", "platstdlib"), _ZIPPED)
SITE_ROOTS = tuple(
    sorted(
        {*_roots("purelib", "platlib")}
        | {os.path.join(os.path.realpath(p), "") for p in (*site.getsitepackages(), site.getusersitepackages())}
    )
)
LIBRARY_ROOTS = (*STDLIB_ROOTS, *SITE_ROOTS, *SDK_ROOTS)
_TRUSTED = (*LIBRARY_ROOTS, "<frozen ")


def _functions(module: ModuleType) -> Iterator[CodeType]:
    for value in list(vars(module).values()):
        members = vars(value).values() if isinstance(value, type) else (value,)
        for member in members:
            function = getattr(member, "__func__", member)
            if isinstance(function, FunctionType) and function.__globals__ is vars(module):
                yield from _nested(function.__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    yield from _among(code.co_consts)


def _among(constants: Iterable[object]) -> Iterator[CodeType]:
    for constant in constants:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
        elif isinstance(constant, tuple | frozenset):
            yield from _among(constant)


class Origins:
    """Remembers where code objects come from, by identity."""

    def __init__(self) -> None:
        self._importers: dict[int, CodeType] = {}
        for module in (importlib._bootstrap, importlib._bootstrap_external):
            self._importers |= {_identity(code): code for code in _functions(module)}
        calls: CodeType = vars(importlib._bootstrap)["_call_with_frames_removed"].__code__
        self._transparent: dict[int, CodeType] = {_identity(calls): calls}
        self._distrusted: weakref.WeakValueDictionary[int, CodeType] = weakref.WeakValueDictionary()
        self._real = {
            _identity(c): c for name in _CARRIERS if name in sys.modules for c in _functions(sys.modules[name])
        }
        self._exempt: dict[int, CodeType] = {}
        self.known: dict[int, tuple[CodeType, Origin]] = {}
        """By identity; the code object is kept, so that its identity stays its own. Never replaced, only emptied."""
        self._sdk_codes: frozenset[CodeType] = frozenset()

    def learn_sdk(self) -> None:
        """Read the SDK's own code from disk. To be called once, before the hook is there."""
        files = sorted(Path(SDK_ROOTS[0]).rglob("*.py"))
        codes = (code for path in files if not str(path).startswith(_UNTRUSTED) for code in _from_disk(str(path)))
        self._sdk_codes = frozenset(codes)
        self.known.clear()

    def make_transparent(self, *functions: FunctionType) -> None:
        """Frames of these wrappers are passed over: the event belongs to their caller."""
        self._transparent |= {_identity(f.__code__): f.__code__ for f in functions}
        self.known.clear()

    def exempt(self, *functions: FunctionType) -> None:
        """Events raised directly by these functions are the SDK's own."""
        self._exempt |= {_identity(f.__code__): f.__code__ for f in functions}
        self.known.clear()

    def distrust(self, code: CodeType) -> None:
        """Code that the import system did not bring is foreign, and all inside it, whatever file name it bears.

        Not so the SDK's, and the real functions of the file helpers it calls.
        """
        for inner in _nested(code):
            if (
                inner.co_filename.startswith(_TRUSTED)
                and inner not in self._sdk_codes
                and _identity(inner) not in self._real
            ):
                self._distrusted[_identity(inner)] = inner
                self.known[_identity(inner)] = (inner, Origin.FOREIGN)

    def actor(self, frame: FrameType | None) -> tuple[FrameType | None, bool]:
        """The frame that an event belongs to, and whether the SDK itself acts there."""
        known = self.known.get
        while frame is not None:
            code = frame.f_code
            found = known(_identity(code))
            origin = self.of(code) if found is None else found[1]
            if origin in _OTHERS:
                return frame, False
            if origin is not _WRAPPER:
                return frame, origin is _SDK or self.is_sdk(frame)
            frame = frame.f_back
        return None, False

    def of(self, code: CodeType) -> Origin:
        """Where a code object comes from."""
        known = self.known.get(_identity(code))
        if known is not None:
            return known[1]
        origin = self._find(code)
        if len(self.known) >= MAX_KNOWN_CODES:
            self.known.clear()
        self.known[_identity(code)] = (code, origin)
        return origin

    def _find(self, code: CodeType) -> Origin:
        if self._distrusted.get(_identity(code)) is code:
            return Origin.FOREIGN
        if _identity(code) in self._transparent:
            return Origin.WRAPPER
        if _identity(code) in self._exempt:
            return Origin.SDK
        if _identity(code) in self._importers:
            return Origin.IMPORTER
        name = code.co_filename
        if name.startswith(SDK_ROOTS):
            return Origin.SDK if not name.startswith(_UNTRUSTED) and code in self._sdk_codes else Origin.FOREIGN
        if name.startswith(SITE_ROOTS):
            return Origin.LIBRARY
        return Origin.STDLIB if name.startswith((*STDLIB_ROOTS, "<frozen ")) else Origin.FOREIGN

    def is_sdk(self, frame: FrameType | None) -> bool:
        """Whether the SDK itself acts here, directly or through a plain file helper of the standard library."""
        while frame is not None:
            origin = self.of(frame.f_code)
            if origin is Origin.SDK:
                return True
            if origin is not Origin.WRAPPER and (origin is not Origin.STDLIB or _package(frame) not in _CARRIERS):
                return False
            frame = frame.f_back
        return False

    def names(self, frame: FrameType | None, words: frozenset[str]) -> bool:
        """Whether an installed library's own code asks for something by its name.

        A library's function that calls whatever it is given does not.
        """
        while frame is not None:
            origin = self.of(frame.f_code)
            if origin is Origin.STDLIB or origin is Origin.LIBRARY:
                if not words.isdisjoint(frame.f_code.co_names):
                    return True
            elif origin is not Origin.WRAPPER:
                return False
            frame = frame.f_back
        return False

    def behind_stdlib(self, frame: FrameType | None) -> Origin:
        """The origin of the first caller that is not the standard library."""
        while frame is not None:
            origin = self.of(frame.f_code)
            if origin is not Origin.STDLIB and origin is not Origin.WRAPPER:
                return origin
            frame = frame.f_back
        return Origin.STDLIB

    def loads_library(self, frame: FrameType | None) -> bool:
        """Whether the import system is running the body of an installed library, with only libraries in between."""
        body = False
        while frame is not None:
            origin = self.of(frame.f_code)
            if origin is Origin.IMPORTER:
                # A module's body, or a compiled module: anybody may call the importer's functions with others.
                return body or frame.f_code.co_qualname in _COMPILED
            if origin is Origin.FOREIGN:
                return False
            if origin is not Origin.WRAPPER:
                body = frame.f_code.co_name == "<module>"
            frame = frame.f_back
        return False


def _package(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name.partition(".")[0] if isinstance(name, str) else ""


def _from_disk(path: str) -> Iterator[CodeType]:
    try:
        code = SourceFileLoader("vaultak", path).get_code("vaultak")
    except (OSError, SyntaxError, ImportError):
        return
    if code is not None:
        yield from _nested(code)


origins = Origins()
