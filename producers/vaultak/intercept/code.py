"""Code: executed from text or code objects, imported from outside the installed libraries, and native.

The standard library's and installed libraries' own imports are no actions, nor is the code that `dataclasses`,
`namedtuple` and the like generate. Importing any other file is (`module:<name>`), so is `exec`, `eval`, `runpy`
(`code:<file or source>`), loading a native library or looking up one of its symbols (`native:<name>`), and reaching
for what could disarm the monitor: `gc.get_objects`, `sys.settrace`, further audit hooks, forged code objects.
"""

from __future__ import annotations

import dis
import os
from types import CodeType, FrameType
from typing import Any

from vaultak.intercept import importing, paths
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
        "pydantic._internal._typing_extra", "pydantic._internal._namespace_utils", "numpy.ma.core",
    }
)  # fmt: skip
"""Modules whose compiling and executing is part of defining classes and functions, never a program's own text."""


_INSTALLED = (*LIBRARY_ROOTS, "<frozen ")


def _code(resource: str, payload: dict[str, Any]) -> Effects:
    return (Effect(ActionType.CODE_EXECUTION, resource, payload),)


def _module_name(frame: FrameType | None) -> str:
    name = frame.f_globals.get("__name__") if frame is not None else None
    return name if isinstance(name, str) else ""


_EVALUATORS = frozenset({"typing", "inspect", "annotationlib", "typing_extensions"})
"""Those that evaluate text they are given: annotations."""
_EXECUTING = frozenset({"exec", "eval"})


def _generates(code: CodeType, frame: FrameType | None) -> bool:
    """Whether a library makes a class or a function, by what it offers for that: not by its inner parts."""
    if frame is None or origins.of(frame.f_code) not in (Origin.STDLIB, Origin.LIBRARY):
        return False
    module = _module_name(frame)
    if module == "site":
        return origins.behind_stdlib(frame) is not Origin.FOREIGN
    if module not in _GENERATORS or _EXECUTING.isdisjoint(frame.f_code.co_names):
        return False
    entrance = frame
    while entrance.f_back is not None and _module_name(entrance.f_back) == module:
        entrance = entrance.f_back
    asked_by = entrance.f_back
    foreign = asked_by is None or origins.of(asked_by.f_code) is Origin.FOREIGN
    if foreign and any(_is_private(part) for part in entrance.f_code.co_qualname.split(".")):
        return False
    if module not in _EVALUATORS:
        return True
    # A library may have annotations call what it offers: `Annotated[int, Field(gt=0)]`.
    return not any(name.startswith("_") for name in code.co_names) and not (foreign and _calls(code))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _calls(code: CodeType) -> bool:
    """Whether evaluating an annotation calls anything."""
    return any(i.opname.startswith(("CALL", "PRECALL")) for i in dis.get_instructions(code)) or any(
        isinstance(constant, CodeType) for constant in code.co_consts
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
    code, frame = o.args[0], o.frame
    if not isinstance(code, CodeType):
        return NONE
    if frame is not None and origins.of(frame.f_code) is Origin.IMPORTER:
        return _imported(code, frame)
    if _generates(code, frame) or origins.loads_library(frame):
        return NONE
    if not origins.names(frame, _EXECUTING) or origins.behind_stdlib(frame) is Origin.FOREIGN:
        origins.distrust(code)
    payload: dict[str, Any] = {"op": "exec", "names": list(code.co_names[:64])}
    source = _source_of(code, frame)
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
    """A module's body about to be run by the import system, or by somebody through one of its functions."""
    executes = frame.f_code.co_name == "exec_module"
    given = frame.f_locals
    loader = given.get("self") if executes else None
    if executes and (importing.is_frozen(frame) or importing.is_installed(loader)):
        return NONE
    origins.distrust(code)
    file = os.path.realpath(importing.file_of(loader) or code.co_filename)
    importing.note(file)
    name = getattr(given.get("module"), "__name__", None)
    resource = f"module:{name}" if isinstance(name, str) else f"code:{paths.printable(code.co_filename)}"
    return _code(resource, {"op": "import", "file": paths.printable(file)})


_INTERNALS = frozenset({"_testcapi", "_testinternalcapi", "_testlimitedcapi", "_testclinic", "_xxtestfuzz"})
"""The interpreter's tests of itself: threads, interpreters and frames that no monitor is told of."""


def _extension(o: Occurrence) -> Effects:
    """The `import` event names a file for extension modules only."""
    name, file = o.args[:2]
    if file is None:
        return NONE
    path = paths.resolve(file) or paths.text(file)
    if path.startswith(LIBRARY_ROOTS) and name not in _INTERNALS:
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
    if origins.names(o.frame, _MEMORY) and origins.behind_stdlib(o.frame) is not Origin.FOREIGN:
        return NONE
    if origins.loads_library(o.frame):
        return NONE
    return _code("native:memory", {"op": o.event})


def _disarming(o: Occurrence) -> Effects:
    """Events that ordinary programs do not raise, but one that looks for the monitor's inside does."""
    asked_by_name = origins.names(o.frame, frozenset((o.event.rpartition(".")[2],)))
    if asked_by_name and origins.behind_stdlib(o.frame) is not Origin.FOREIGN:
        return NONE
    if origins.loads_library(o.frame):
        return NONE
    return _code(f"code:{o.event}", {"op": o.event})


def _forged(o: Occurrence) -> Effects:
    if o.frame is None or origins.names(o.frame, _FORGING) or origins.loads_library(o.frame):
        return NONE
    return _code(f"code:{o.event}", {"op": o.event, "file": str(o.args[1])[:500], "name": str(o.args[2])[:200]})


def _constructed(o: Occurrence) -> Effects:
    """A function made from a code object, without `def` and without `exec`."""
    if o.frame is None or origins.names(o.frame, _CONSTRUCTING) or origins.loads_library(o.frame):
        return NONE
    code = o.args[0]
    if isinstance(code, CodeType):
        origins.distrust(code)
    names = list(code.co_names[:64]) if isinstance(code, CodeType) else []
    return _code(f"code:{o.event}", {"op": o.event, "names": names})


_MEMORY = frozenset({
    "string_at", "wstring_at", "memoryview_at", "from_address", "from_buffer", "cast", "call_function",
    "call_cdeclfunction", "CFUNCTYPE", "PYFUNCTYPE", "contents",
})  # fmt: skip
_FORGING = frozenset({"CodeType", "replace", "__replace__"})
_CONSTRUCTING = frozenset({"FunctionType", "function"})
"""How a library's code names what it does itself."""

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
    "ctypes.PyObj_FromPtr": _memory,
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


def _cast(o: Occurrence) -> Effects:
    """`ctypes.cast(address, type)`; casting what ctypes made itself is no more than using it."""
    return _memory(o) if o.args and isinstance(o.args[0], int) else NONE


def _backend(o: Occurrence) -> Effects:
    """`_cffi_backend.load_library(name, flags)`."""
    name = o.args[0] if o.args else None
    return _library(o.but(args=(None if name is None else paths.text(name),)))


def patch() -> None:
    """Outcomes of executing text, where a wrapper cannot change what the text sees: native loading only.

    `exec` and `eval` look at their caller's frame, and a wrapper would be that caller.
    """
    when_imported("ctypes", _patch_ctypes)
    when_imported("_cffi_backend", _patch_cffi)


def _patch_cffi() -> None:
    patch_function(("_cffi_backend",), "load_library", enforce("cffi.load_library", _backend))


def _patch_ctypes() -> None:
    patch_function(("ctypes", "_ctypes"), "_dlopen", observe("ctypes.dlopen"))
    patch_function(("ctypes",), "cast", enforce("ctypes.cast", _cast))
    for name in ("memmove", "memset"):
        patch_function(("ctypes",), name, enforce(f"ctypes.{name}", _memory))
