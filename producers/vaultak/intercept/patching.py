"""Patches by wrapt that stay invisible to the host: picklable by name, copyable, bound like the original."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import wrapt

from vaultak.intercept.calls import observe
from vaultak.intercept.trust import origins

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]

origins.make_transparent(cast(FunctionType, observe("")))


class Patched(wrapt.FunctionWrapper[..., Any]):
    """A wrapped builtin. Pickles to its public name, as the original does."""

    def __reduce_ex__(self, protocol: Any) -> str:
        return str(self.__wrapped__.__qualname__)

    def __copy__(self) -> Patched:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Patched:
        return self


def patch_function(modules: tuple[str, ...], name: str, wrapper: Wrapper) -> None:
    """Replace one builtin under every module that exports it, by one object. Absent names are left absent."""
    loaded = [module for module in map(sys.modules.get, modules) if module is not None and hasattr(module, name)]
    if not loaded:
        return
    original = getattr(loaded[0], name)
    patched = Patched(original, wrapper)
    for module in loaded:
        if getattr(module, name) is original:
            setattr(module, name, patched)


def patch_method(owner: type, name: str, wrapper: Wrapper) -> None:
    """Replace a method, inherited or own, on a class written in Python."""
    if hasattr(owner, name):
        wrapt.wrap_function_wrapper(owner, name, wrapper)
