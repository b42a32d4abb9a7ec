"""The interceptors' modules refuse to be rebound: replacing one of their functions is an error, not a bypass.

This stops what is done in passing (`paths.resolve = ...`), not what works on purpose at a module's dictionary; that
is in `docs/limits.md`. Replacing the code of a function in place raises an event and is judged.
"""

from __future__ import annotations

import sys
from types import CodeType, FunctionType, ModuleType

from vaultak.intercept import importing
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.trust import Origin, origins
from vaultak.wire import ActionType

_PACKAGE = "vaultak"


class _Frozen(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # Dunder names are the import system's, when a module is reloaded or a submodule bound.
        if not name.startswith("__") and not isinstance(value, ModuleType):
            raise AttributeError(f"`{self.__name__}.{name}` is part of a running monitor and cannot be replaced")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"`{self.__name__}.{name}` is part of a running monitor and cannot be removed")


def freeze(prefix: str) -> None:
    """Freeze every loaded module of a package. Idempotent."""
    for name, module in list(sys.modules.items()):
        if (name == prefix or name.startswith(f"{prefix}.")) and type(module) is ModuleType:
            module.__class__ = _Frozen


def _replaced(o: Occurrence) -> Effects:
    """`f.__code__ = ...` and the like, on a function of the SDK."""
    owner, name = o.args[:2]
    if isinstance(o.args[-1], CodeType) and (o.frame is None or origins.of(o.frame.f_code) is not Origin.LIBRARY):
        origins.distrust(o.args[-1])
        importing.forget_classes()
    if not isinstance(owner, FunctionType) or not owner.__module__.startswith(_PACKAGE):
        return NONE
    resource = f"code:{owner.__module__}.{owner.__qualname__}"
    return (Effect(ActionType.CODE_EXECUTION, resource, {"op": o.event, "attribute": str(name)[:200]}),)


CLASSIFIERS: dict[str, Classifier] = {"object.__setattr__": _replaced, "object.__delattr__": _replaced}


def patch() -> None:
    """Nothing to patch: events and frozen modules are all."""
