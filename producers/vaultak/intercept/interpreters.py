"""Subinterpreters: a Python audit hook does not reach into one, so what runs there is judged at the door.

Refusing in the event of their creation crashes Python 3.11 and 3.12; a patch refuses before it.
"""

from __future__ import annotations

import functools
import sys

from vaultak.intercept.effect import Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.patching import patch_function, when_imported
from vaultak.wire import ActionType

MAX_SOURCE_CHARS = 2000

_MODULES = ("_xxsubinterpreters", "_interpreters")
_FUNCTIONS = ("create", "run_string", "run_func", "exec", "call")


def _entered(o: Occurrence) -> Effects:
    source = next((argument for argument in o.args if isinstance(argument, str)), "")
    payload = {"op": o.event, "source": source[:MAX_SOURCE_CHARS]}
    return (Effect(ActionType.CODE_EXECUTION, "code:subinterpreter", payload),)


CLASSIFIERS: dict[str, Classifier] = {}


def patch() -> None:
    for module in _MODULES:
        when_imported(module, functools.partial(_patch_module, module))


def _patch_module(module: str) -> None:
    if module in sys.modules:
        for name in _FUNCTIONS:
            patch_function((module,), name, enforce(f"interpreters.{name}", _entered))
