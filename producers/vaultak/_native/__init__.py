"""The compiled core, where it could be built: `core` is `None` otherwise, and everything works in Python.

`VAULTAK_PURE_PYTHON=1` does without it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from types import ModuleType

from vaultak.wire import uuid7


def _load() -> ModuleType | None:
    if os.environ.get("VAULTAK_PURE_PYTHON"):
        return None
    try:
        return importlib.import_module("vaultak._native._core")
    except ImportError:
        return None


core = _load()

new_id: Callable[[], str] = getattr(core, "uuid7", uuid7)
"""A fresh UUIDv7."""

if core is not None and hasattr(core, "forget_drawn"):
    os.register_at_fork(after_in_child=core.forget_drawn)
