"""Arguments as the kernel will get them: of a class that cannot say one thing here and another there.

A subclass of `str`, `bytes` or `int` may answer what it likes where Python code asks, while C code reads its content;
an object with `__fspath__` or `__index__` may answer differently each time it is asked. So each is asked once.
"""

from __future__ import annotations

import operator
import os
from typing import Any

_EXACT = frozenset({str, bytes, int, bool, float, type(None), bytearray, memoryview})
_MAX_DEPTH = 3


def number(value: int) -> int:
    """An `int` of the class itself, whatever a subclass says about its value."""
    return value if type(value) is int else int.__add__(value, 0)


def plain(value: Any, depth: int = 0) -> Any:
    """The same value of a built-in class: text, bytes, a number; paths and indexes asked once, lists looked through.

    What is none of these comes back as it is, and so does what holds a buffer. Raises what `__fspath__` or `__index__`
    raises.
    """
    kind = type(value)
    if kind in _EXACT:
        return value
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, bytes):
        return b"".join((value,))
    if issubclass(kind, int):
        return int.__add__(value, 0)
    if kind is list or kind is tuple:
        return kind(plain(item, depth + 1) for item in value) if depth < _MAX_DEPTH else value
    if hasattr(kind, "__fspath__"):
        return plain(os.fspath(value), depth)
    if hasattr(kind, "__index__") and not _holds_buffer(value):
        return plain(operator.index(value), depth)
    return value


def plainly(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call of C code, which will see exactly what has been judged."""
    if not _EXACT.issuperset(map(type, args)):
        args = tuple(map(plain, args))
    if kwargs and not _EXACT.issuperset(map(type, kwargs.values())):
        kwargs = {name: plain(value) for name, value in kwargs.items()}
    return args, kwargs


def _holds_buffer(value: Any) -> bool:
    try:
        memoryview(value).release()
    except TypeError:
        return False
    return True
