"""Code: executed from text or code objects, imported from outside the installed libraries, and native.

The standard library's and installed libraries' own imports are no actions, nor is the code that `dataclasses`,
`namedtuple` and the like generate. Importing any other file is (`module:<name>`), so is `exec`, `eval`, `runpy`
(`code:<file or source>`), loading a native library or looking up one of its symbols (`native:<name>`), and reaching
for what could disarm the monitor: `gc.get_objects`, `sys.settrace`, further audit hooks, forged code objects.
"""

from __future__ import annotations

import os
from types import CodeType, FrameType
from typing import Any

from vaultak.intercept import paths
from vaultak.intercept.calls import here, observe
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.patching import patch_function, when_imported
from vaultak.intercept.trust import LIBRARY_ROOTS, SDK_ROOTS, Origin, origins
from vaultak.wire import ActionType

MAX_SOURCE_CHARS = 2000
MAX_RESOURCE_SOURCE_CHARS = 200

_GENERATORS = frozenset(
    {
        "collections", "dataclasses", "typing", "enum", "ast", "inspect", "functools", "annotationlib", "pkgutil",
        "typing_extensions", "attr._make", "namedtuple", "_pytest.assertion.rewrite", "wrapt.decorators", "decorator",
        "pydantic._internal._typing_extra", "pydantic._internal._namespace_utils", "numpy.ma.core", "site",
    }
)  # fmt: skip
"""Modules whose compiling and executing is part of defining classes and functions, never a program's own text."""


_INSTALLED = (*LIBRARY_ROOTS, "<frozen ")


def _code(resource: str, payload: dict[str, Any]) -> Effects:
    return (Effect(ActionType.CODE_EXECUTION, resource, payload),)


def _module_name(frame: FrameType | None) -> str:
    name = frame.f_globals.get("__name__") if frame is not None else None
    return name if isinstance(name, str) else ""


def _generates(frame: FrameType | None) -> bool:
    return (
        frame is not None
        and origins.of(frame.f_code) in (Origin.STDLIB, Origin.LIBRARY)
        and _module_name(frame) in _GENERATORS
    )


def _compiled(o: Occurrence) -> Effects:
    """Compiling has no effect by itself. Its text is kept for the execution that follows; forging is reported."""
    source, name = o.args
    if o.frame is None or origins.of(o.frame.f_code) is Origin.IMPORTER:
        return NONE
    file = paths.text(name) if isinstance(name, str | bytes | os.PathLike) else str(name)
    if file.startswith((*SDK_ROOTS, "<frozen ")):
        return _code(f"code:{paths.printable(file)}", {"op": "compile", "forged": True})
    text = source.decode("utf-8", "backslashreplace") if isinstance(source, bytes) else str(source or "")
    here.compiled = (id(o.frame), o.frame.f_lasti, file, text[: MAX_SOURCE_CHARS * 8])
    return NONE


def _executed(o: Occurrence) -> Effects:
    code = o.args[0]
    if not isinstance(code, CodeType):
        return NONE
    if o.frame is not None and origins.of(o.frame.f_code) is Origin.IMPORTER:
        return _imported(code, o.frame)
    if _generates(o.frame) or origins.loads_library(o.frame):
        return NONE
    payload: dict[str, Any] = {"op": "exec", "names": list(code.co_names[:64])}
    source = _source_of(code, o.frame)
    if source:
        payload["source"] = source[:MAX_SOURCE_CHARS]
    file = code.co_filename
    if os.sep in file and not file.startswith("<"):
        return _code(f"code:{paths.printable(os.path.realpath(file))}", payload)
    return _code(f"code:{source[:MAX_RESOURCE_SOURCE_CHARS] or file}", payload)


def _source_of(code: CodeType, frame: FrameType | None) -> str:
    """The text that `exec` or `eval` was given; empty unless it was compiled by this very call."""
    compiled, here.compiled = here.compiled, None
    if compiled is None or frame is None:
        return ""
    frame_id, instruction, file, source = compiled
    same_call = frame_id == id(frame) and instruction == frame.f_lasti and file == code.co_filename
    return source if same_call and all(name in source for name in code.co_names) else ""


def _imported(code: CodeType, frame: FrameType) -> Effects:
    """A module's body about to be run by the import system."""
    file = code.co_filename
    if file.startswith(_INSTALLED) or os.path.realpath(file).startswith(LIBRARY_ROOTS):
        return NONE
    loader = frame.f_back if frame.f_code.co_name == "_call_with_frames_removed" else frame
    module = loader.f_locals.get("module") if loader is not None else None
    name = getattr(module, "__name__", None)
    resource = f"module:{name}" if isinstance(name, str) else f"code:{paths.printable(file)}"
    return _code(resource, {"op": "import", "file": paths.printable(os.path.realpath(file))})


def _extension(o: Occurrence) -> Effects:
    """The `import` event names a file for extension modules only."""
    name, file = o.args[:2]
    if file is None:
        return NONE
    path = paths.resolve(file) or paths.text(file)
    if path.startswith(LIBRARY_ROOTS):
        return NONE
    return _code(f"module:{name}", {"op": "import", "file": paths.printable(path), "native": True})


def _library(o: Occurrence) -> Effects:
    name = o.args[0]
    if origins.loads_library(o.frame):
        return NONE
    if name is None:
        return _code("native:python", {"op": o.event})
    text = paths.text(name)
    return _code(f"native:{paths.printable(paths.resolve(text) or text) if os.sep in text else text}", {"op": o.event})


def _symbol(o: Occurrence) -> Effects:
    symbol = o.args[1]
    if origins.loads_library(o.frame):
        return NONE
    library = getattr(o.args[0], "_name", None)
    return _code(f"native:{symbol}", {"op": o.event, "library": paths.printable(str(library or "python"))})


def _memory(o: Occurrence) -> Effects:
    """Calling an address, or reading and writing memory at one."""
    if origins.behind_stdlib(o.frame) is not Origin.FOREIGN or origins.loads_library(o.frame):
        return NONE
    return _code("native:memory", {"op": o.event})


def _disarming(o: Occurrence) -> Effects:
    """Events that ordinary programs do not raise, but one that looks for the monitor's inside does."""
    if origins.behind_stdlib(o.frame) is not Origin.FOREIGN or origins.loads_library(o.frame):
        return NONE
    return _code(f"code:{o.event}", {"op": o.event})


def _forged(o: Occurrence) -> Effects:
    if o.frame is None or origins.of(o.frame.f_code) is not Origin.FOREIGN:
        return NONE
    return _code(f"code:{o.event}", {"op": o.event, "file": str(o.args[1])[:500], "name": str(o.args[2])[:200]})


def _constructed(o: Occurrence) -> Effects:
    """A function made from a code object, without `def` and without `exec`."""
    if o.frame is None or origins.of(o.frame.f_code) is not Origin.FOREIGN:
        return NONE
    code = o.args[0]
    names = list(code.co_names[:64]) if isinstance(code, CodeType) else []
    return _code(f"code:{o.event}", {"op": o.event, "names": names})


CLASSIFIERS: dict[str, Classifier] = {
    "compile": _compiled,
    "exec": _executed,
    "import": _extension,
    "ctypes.dlopen": _library,
    "ctypes.dlsym": _symbol,
    "ctypes.dlsym/handle": _symbol,
    "code.__new__": _forged,
    "function.__new__": _constructed,
    "ctypes.call_function": _memory,
    "ctypes.cdata": _memory,
    "ctypes.string_at": _memory,
    "ctypes.wstring_at": _memory,
    "ctypes.memoryview_at": _memory,
    "gc.get_objects": _disarming,
    "gc.get_referents": _disarming,
    "gc.get_referrers": _disarming,
    "sys._current_exceptions": _disarming,
    "sys._current_frames": _disarming,
    "sys.monitoring.register_callback": _disarming,
    "sys.addaudithook": _disarming,
    "sys.settrace": _disarming,
    "sys.setprofile": _disarming,
    "sys.remote_exec": _disarming,
}


def patch() -> None:
    """Outcomes of executing text, where a wrapper cannot change what the text sees: native loading only.

    `exec` and `eval` look at their caller's frame, and a wrapper would be that caller.
    """
    when_imported("ctypes", _patch_ctypes)


def _patch_ctypes() -> None:
    patch_function(("ctypes", "_ctypes"), "_dlopen", observe("ctypes.dlopen"))
    for name in ("memmove", "memset"):
        patch_function(("ctypes",), name, enforce(f"ctypes.{name}", _memory))
