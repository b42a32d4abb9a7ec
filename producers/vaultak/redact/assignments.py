"""Secrets that a name gives away in running text: `PASSWORD=x`, `"api_key": "x"`, `--token x`, `Cookie: x`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import re2

from vaultak.redact.marks import is_mark, mark
from vaultak.redact.names import may_name_secret, names_secret
from vaultak.redact.randomness import looks_random

_WORDS = "pass|pwd|secret|token|key|auth|cookie|cred|session|jwt|otp|cvv|cvc|pin|ssn|sig"
_END = r"[A-Za-z0-9_.-]{0,64}"
_BETWEEN = r"\\?['\"]?\]?\s*(?::=|=>|=|:)\s*"
_SCHEME = r"(?:(?i:basic|bearer|token|digest|apikey)\s+)?"

SCREEN = rf"(?i)(?:{_WORDS})[a-z0-9_.-]*[\\'\"\]]*\s*[:=]|-(?:[a-z0-9]+-)*[a-z0-9]*(?:{_WORDS})[a-z0-9-]*\s"
"""What every assignment of a secret contains; cheap enough to look for in any text."""

_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_ESCAPED = r"\\\"[^\"\\]*\\\""  # JSON within JSON
_ASSIGNMENT = re2.compile(
    rf"(?P<name>[A-Za-z0-9_.-]{{0,64}}(?i:{_WORDS}){_END})(?P<sep>{_BETWEEN}{_SCHEME})"
    rf"(?P<value>{_QUOTED}|{_ESCAPED}|[^\s'\"&;,(){{}}\[\]<>|\\]+)"
)
_OPTION = re2.compile(
    rf"(?P<name>--?[A-Za-z0-9-]{{0,40}}(?i:{_WORDS})[A-Za-z0-9-]{{0,40}})(?P<sep>\s+)"
    rf"(?P<value>{_QUOTED}|[^\s'\"\[-][^\s'\"]*)"
)
_COOKIES = re2.compile(r"(?P<name>(?i:\b(?:set-)?cookie))(?P<sep>['\"]?\s*[:=]\s*['\"]?)(?P<value>[^\r\n'\"]+)")

_PLAIN = frozenset(
    {"true", "false", "null", "none", "nil", "undefined", "str", "int", "bytes", "bool", "string", "optional"}
)
"""Values that are no secrets: switches, types in code."""

_PLACEHOLDERS = ("$", "<", "{{", "%(", "***", "...")


Allowed = Callable[[str], bool]


def without(text: str, allowed: Allowed) -> str:
    """The text without the values that names give away, but for those `allowed`."""

    def replaced(found: Any) -> str:
        whole, name, sep, value = found.group(0, "name", "sep", "value")
        quote = value[:2] if value[0] == "\\" else value[0] if value[0] in "\"'" else ""
        bare = value[len(quote) : len(value) - len(quote)]
        if not _is_secret(name, bare) or allowed(bare):
            return str(whole)
        return f"{name}{sep}{quote}{mark('named')}{quote}"

    for pattern in (_COOKIES, _ASSIGNMENT, _OPTION):
        text = str(pattern.sub(replaced, text))
    return text


def _is_secret(name: str, value: str) -> bool:
    if not value or is_mark(value) or value.lower() in _PLAIN or value.startswith(_PLACEHOLDERS):
        return False
    return names_secret(name) or (may_name_secret(name) and looks_random(value))
