"""The files that an SQLite statement opens by itself: `ATTACH`, `VACUUM INTO`, `load_extension()`.

Their names are expressions. Strings and parameters are computed, in an empty database; a name made any other way (the
host may have put a function of its own in the place of any) is unknown, and stands for any file.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final, cast

from vaultak import governor
from vaultak.intercept import paths
from vaultak.intercept.sql_tokens import Token, tokens
from vaultak.policy.resources import ANY_FILE

_OPENS = re.compile(r"attach|vacuum|load_extension", re.IGNORECASE)
MAX_FILES: Final = 16
MAX_NAME_CHARS: Final = 10_000

_PLAIN: Final = (str, bytes, int, float)

_Connect = sqlite3.Connection
"""As the module had it before the governed class took its name."""


def of_statement(sql: str, parameters: object) -> tuple[str, ...]:
    """Absolute paths that executing the text opens or makes; `ANY_FILE` for one that cannot be told."""
    if not _OPENS.search(sql):
        return ()
    words = tokens(sql, "sqlite")
    if words is None:
        return (ANY_FILE,)
    names = _names(words)
    found = dict.fromkeys(filter(None, (_path(name, parameters) for name in names[:MAX_FILES])))
    return (*found, ANY_FILE) if len(names) > MAX_FILES else tuple(found)


def file_of(name: str) -> str:
    """The absolute path of a database named as SQLite takes it; empty for one in memory."""
    if name in ("", ":memory:") or name.startswith("file::memory:"):
        return ""
    if name.startswith("file:"):
        from urllib.parse import unquote

        name, _, query = name.removeprefix("file:").partition("?")
        if "mode=memory" in query:
            return ""
        name = unquote(name.partition("#")[0])
        if name.startswith("//"):
            name = "/" + name[2:].partition("/")[2]
    return paths.resolve(name) or name


def _names(words: list[Token]) -> list[list[Token]]:
    """The tokens of each file name."""
    found: list[list[Token]] = []
    for i, token in enumerate(words):
        first = i == 0 or (words[i - 1].kind == "p" and words[i - 1].text == ";")
        if token.key == "ATTACH" and first:
            start = i + 2 if i + 1 < len(words) and words[i + 1].key == "DATABASE" else i + 1
            found.append(_until(words, start, "AS"))
        elif token.key == "VACUUM" and first:
            end = _until(words, i, ";")
            into = next((n for n, word in enumerate(end) if word.key == "INTO"), None)
            if into is not None:
                found.append(end[into + 1 :])
        elif token.name.lower() == "load_extension" and i + 1 < len(words) and words[i + 1].text == "(":
            found.append(_until(words, i + 2, ","))
    return found


def _until(words: list[Token], start: int, end: str) -> list[Token]:
    """Tokens up to a keyword or a sign outside parentheses, the end of the statement or of the list."""
    depth = 0
    for i in range(start, len(words)):
        word = words[i]
        if word.kind == "p":
            depth += (word.text == "(") - (word.text == ")")
        if depth < 0 or (not depth and (word.text == ";" or end in (word.key, word.text if word.kind == "p" else ""))):
            return words[start:i]
    return words[start:]


def _path(name: list[Token], parameters: object) -> str:
    value = name[0].name if len(name) == 1 and name[0].kind in "qsw" else _computed(name, parameters)
    if value is None or len(value) > MAX_NAME_CHARS:
        return ANY_FILE
    return paths.printable(file_of(value))


_NUMBERED = re.compile(r"^\?(?=\d{1,4}$)")
"""Numbered parameters get names: a sequence for them is going out of use, and some have no number in the text."""


def _computed(name: list[Token], parameters: object) -> str | None:
    """The value of strings, parameters and what joins them; `None` where anything else could differ over there."""
    text = "".join(t.text if t.kind == "p" else f" {_NUMBERED.sub(':p', t.text)}" for t in name)
    if len(text) > MAX_NAME_CHARS or any(t.kind == "w" or (t.kind == "p" and t.text not in "|()") for t in name):
        return None
    bound = _bound(name, parameters)
    if bound is None:
        return None
    token = governor.activate(None)
    try:
        with closing(_Connect(":memory:")) as apart:
            apart.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_NAME_CHARS * 4)
            rows = apart.execute(f"SELECT CAST(({text}) AS TEXT)", bound).fetchall()
    except (sqlite3.Error, ValueError, TypeError, OverflowError, UnicodeError):
        return None
    finally:
        governor.deactivate(token)
    value = rows[0][0] if len(rows) == 1 else None
    return value if isinstance(value, str) else None


def _bound(name: list[Token], parameters: object) -> Any:
    """The parameters for a name alone; `None` unless they are plain values, which are the same when read twice."""
    used = [token.text for token in name if token.kind == "n" and not token.text[0].isdigit()]
    if not used:
        return ()
    if type(parameters) is dict:
        values = {text[1:]: parameters.get(text[1:]) for text in used}
        return values if all(type(v) in _PLAIN for v in values.values()) else None
    if type(parameters) not in (tuple, list):
        return None
    numbers = [int(text[1:]) if _NUMBERED.match(text) else 0 for text in used]
    if any(numbers) and not all(numbers):
        return None
    listed = cast(Sequence[Any], parameters)[: max(numbers) or len(used)]
    if not all(type(v) in _PLAIN for v in listed):
        return None
    return {f"p{n}": value for n, value in enumerate(listed, 1)} if any(numbers) else listed
