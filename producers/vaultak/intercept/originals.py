"""Modules made anew: their functions are the patched ones too.

A module of the interpreter's or a compiled one can be made a second time (`sys.modules.pop("posix")`, a spec and
`module_from_spec`), with functions that nobody has patched. Those for which Python raises no event are put right here.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from types import FrameType, FunctionType, ModuleType
from typing import Any, cast

from vaultak.intercept import patching
from vaultak.intercept.effect import Classifier
from vaultak.intercept.trust import Origin, origins

CLASSIFIERS: dict[str, Classifier] = {}
"""None: nothing is judged here."""


def _made(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`_imp.create_builtin(spec)` and `_imp.create_dynamic(spec, file)`."""
    name = getattr(args[0], "name", None) if args else None
    if name in patching.awaited and name not in sys.modules and not _is_import(sys._getframe(1)):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)  # the usual way, in which its patches are put in place
    module = wrapped(*args, **kwargs)
    if isinstance(module, ModuleType) and isinstance(name, str):
        patching.restore(module, name)
    return module


def _is_import(frame: FrameType | None) -> bool:
    """Whether the module will be in `sys.modules`, where its patches are put in place."""
    while frame is not None and (origin := origins.of(frame.f_code)) is not Origin.FOREIGN:
        if origin is Origin.IMPORTER and frame.f_code.co_name == "_load_unlocked":
            return True
        frame = frame.f_back
    return False


def _renamed(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`_imp._fix_co_filename(code, path)`: code takes another file's name, in place."""
    result = wrapped(*args, **kwargs)
    actor, own = origins.actor(sys._getframe(1))
    if not own and (actor is None or origins.of(actor.f_code) is not Origin.IMPORTER):
        origins.distrust(args[0])
    return result


origins.make_transparent(cast(FunctionType, _made), cast(FunctionType, _renamed))


def patch() -> None:
    for name in ("create_builtin", "create_dynamic"):
        patching.patch_function(("_imp",), name, _made)
    patching.patch_function(("_imp",), "_fix_co_filename", _renamed, sealed=True)
