"""Which programs are Python, and which of their flags keep them from what their parent hands down."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

_PYTHON = re.compile(r"(?:python|pypy)(?:\d+(?:\.\d+)?)?[dwmut]*(?:\.exe)?")
_WITH_VALUE = frozenset("cmWX")
"""Options whose value may follow in the next word; `-c` and `-m` end the options."""
_SHUTTING_OUT = {"I": "-I", "E": "-E", "S": "-S"}
_SHEBANG_BYTES = 256


def is_python(program: str) -> bool:
    """Whether a program is a Python interpreter, by its name or by what it links to."""
    names = {os.path.basename(program), os.path.basename(os.path.realpath(program))}
    if any(_PYTHON.fullmatch(name) for name in names):
        return True
    return bool(sys.executable) and os.path.realpath(program) == os.path.realpath(sys.executable)


def script_interpreter(program: str) -> list[str]:
    """The words of a script's first line (`#!`), `env` and its options taken away; empty for what is no script."""
    try:
        with open(program, "rb") as file:
            line = file.read(_SHEBANG_BYTES).partition(b"\n")[0]
    except OSError:
        return []
    if not line.startswith(b"#!"):
        return []
    words = os.fsdecode(line[2:]).split()
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if word not in ("-S", "--split-string") and "=" not in word]
    return words


def shuts_out(program: str, argv: Sequence[str]) -> str:
    """The flag with which this start of Python would not find its heritage; empty where it will, and for no Python."""
    if is_python(program):
        return _flag(argv[1:])
    words = script_interpreter(program)
    return _flag(words[1:]) if words and is_python(words[0]) else ""


def _flag(options: Sequence[str]) -> str:
    skip = False
    for word in options:
        if skip:
            skip = False
            continue
        if not word.startswith("-") or word in ("-", "--") or word.startswith("--"):
            return ""
        for position, letter in enumerate(word[1:], 1):
            if letter in _SHUTTING_OUT:
                return _SHUTTING_OUT[letter]
            if letter in _WITH_VALUE:
                if letter in "cm":
                    return ""
                skip = position == len(word) - 1
                break
    return ""
