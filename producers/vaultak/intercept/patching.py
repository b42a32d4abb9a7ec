"""Patches by wrapt that stay invisible to the host: picklable by name, copyable, bound like the original."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, cast

import wrapt

from vaultak.intercept.calls import Wrapper, observe_in_python
from vaultak.intercept.trust import origins

origins.make_transparent(cast(FunctionType, observe_in_python("")))

_JUDGING = "vaultak.intercept.enforce"
"""Where the wrappers come from that judge what has no event."""


_replaced: dict[int, tuple[object, object]] = {}


_latest: dict[str, dict[str, object]] = {}
"""What each module's functions were replaced by."""

awaited: set[str] = set()
"""Modules to be patched when they are imported."""


class Patched(wrapt.FunctionWrapper[..., Any]):
    """A wrapped builtin. Pickles to its public name, as the original does."""

    def __reduce_ex__(self, protocol: Any) -> str:
        return str(self.__qualname__)

    def __copy__(self) -> Patched:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Patched:
        return self


class Sealed(Patched):
    """A wrapped builtin without an audit event: only its patch judges, so it does not offer the original."""

    @property
    def __wrapped__(self) -> Any:  # type: ignore[override]
        raise AttributeError("__wrapped__")


def patch_function(modules: tuple[str, ...], name: str, wrapper: Wrapper, *, sealed: bool = False) -> None:
    """Replace one builtin under every module that exports it, by one object. Absent names are left absent.

    `sealed`: the original is not offered as `__wrapped__`, as nobody judges what goes around the patch. So it is with
    every wrapper of `enforce`.
    """
    loaded = [module for module in map(sys.modules.get, modules) if module is not None and hasattr(module, name)]
    if not loaded:
        return
    original = getattr(loaded[0], name)
    judges = sealed or isinstance(original, Sealed) or getattr(wrapper, "__module__", "") == _JUDGING
    patched = (Sealed if judges else Patched)(original, wrapper)
    _replaced[id(original)] = (original, patched)
    for module in loaded:
        if getattr(module, name) is original:
            setattr(module, name, patched)
            _latest.setdefault(module.__name__, {})[name] = patched


def restore(module: ModuleType, name: str) -> None:
    """Put the patches into a module that was made anew, or that the interpreter has filled anew."""
    vars(module).update(_latest.get(name, {}))


def when_imported(module: str, patch: Callable[[], None]) -> None:
    """Patch a module that the host may import later, or never: nothing is loaded for its sake."""
    awaited.add(module)
    wrapt.register_post_import_hook(lambda _module: patch(), module)


_TABLES = (("numpy.lib._datasource", "_file_openers", "_file_openers"),)
"""Module, object and its member: functions that libraries have put into a table of their own."""


def rebind_aliases() -> None:
    """Put the patches under the names that modules loaded earlier gave to the originals (`from os import write`)."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.partition(".")[0] not in ("vaultak", "wrapt"):
            _rebind(vars(module))
    for name, holder, member in _TABLES:
        table = getattr(getattr(sys.modules.get(name), holder, None), member, None)
        if type(table) is dict:
            _rebind(table)


def _rebind(members: dict[Any, Any]) -> None:
    for alias, value in list(members.items()):
        newest = value
        while (found := _replaced.get(id(newest))) is not None and found[0] is newest:
            newest = found[1]
        if newest is not value:
            members[alias] = newest


def patch_method(owner: type, name: str, wrapper: Wrapper) -> None:
    """Replace a method, inherited or own, on a class written in Python."""
    if hasattr(owner, name):
        wrapt.wrap_function_wrapper(owner, name, wrapper)
