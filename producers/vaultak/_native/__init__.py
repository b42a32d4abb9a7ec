"""The compiled core, where it could be built: `core` is `None` otherwise, and everything works in Python.

`VAULTAK_PURE_PYTHON=1` does without it.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType


def _load() -> ModuleType | None:
    if os.environ.get("VAULTAK_PURE_PYTHON"):
        return None
    try:
        return importlib.import_module("vaultak._native._core")
    except ImportError:
        return None


core = _load()
