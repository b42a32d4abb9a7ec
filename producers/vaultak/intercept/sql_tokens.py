"""The tokens of SQL text: words, quoted names, strings and signs; comments left out."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Token(NamedTuple):
    """One token."""

    kind: str
    """`w` word, `q` quoted name, `s` string, `n` number or parameter, `p` sign."""
    text: str
    name: str
    """As the database would look it up: quotes taken off, a bare word in lower case."""
    key: str
    """A bare word in upper case; empty for anything else but functions' names, so that no quoted text is a keyword."""


_STRING = r"'(?:[^']|'')*'"
_ESCAPED = r"'(?:[^'\\]|''|\\.)*'"
_NUMBER = r"(?P<n>\d[\w.]*|[?:@%$]\(?\w+\)?s?|\?|%s)"
_WORD = r"(?P<w>[^\W\d][\w$]*)"
_LINE = r"--[^\n]*"

_RULES: Final = {
    "sqlite": rf"(?P<skip>\s+|{_LINE}|/\*.*?(?:\*/|\Z))|(?P<s>[xX]?{_STRING})"
    rf'|(?P<q>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])|{_NUMBER}|{_WORD}|(?P<p>.)',
    "mysql": rf"(?P<skip>\s+|--(?=\s|\Z)[^\n]*|\#[^\n]*|/\*(?!!|M!).*?\*/|/\*M?!\d*|\*/)"
    rf'|(?P<s>[xXbBnN]?{_ESCAPED}|"(?:[^"\\]|""|\\.)*")|(?P<q>`(?:[^`]|``)*`)|{_NUMBER}|{_WORD}|(?P<p>.)',
    "postgresql": rf"(?P<skip>\s+|{_LINE})|(?P<c>/\*)|(?P<s>[eE]{_ESCAPED}|(?:[xXbBnN]|[uU]&)?{_STRING})"
    rf'|(?P<d>\$(?:[^\W\d]\w*)?\$)|(?P<q>(?:[uU]&)?"(?:[^"]|"")*")|{_NUMBER}|{_WORD}|(?P<p>.)',
}  # fmt: skip
_COMPILED: Final = {dialect: re.compile(rule, re.DOTALL) for dialect, rule in _RULES.items()}
_COMMENT = re.compile(r"/\*|\*/")


def tokens(sql: str, dialect: str) -> list[Token] | None:
    """Tokens in order; `None` when a quote or a comment has no end."""
    rule = _COMPILED.get(dialect, _COMPILED["postgresql"])
    found: list[Token] = []
    at = 0
    while at < len(sql):
        match = rule.match(sql, at)
        if match is None:
            return None
        at = match.end()
        kind, text = match.lastgroup or "", match.group()
        if kind == "skip":
            continue
        if kind == "c":
            if (at := _after_comment(sql, at)) < 0:
                return None
        elif kind == "d":
            end = sql.find(text, at)
            if end < 0:
                return None
            found.append(Token("s", sql[at:end], "", ""))
            at = end + len(text)
        elif (kind == "p" and text in "'\"`") or (kind == "p" and text == "[" and dialect == "sqlite"):
            return None
        else:
            found.append(_token(kind, text))
    return found


def _token(kind: str, text: str) -> Token:
    if kind == "w":
        return Token(kind, text, text.lower(), text.upper())
    if kind == "q":
        quote = text[-1]
        inner = text[text.index("[" if quote == "]" else quote) + 1 : -1]
        name = inner.replace(quote * 2, quote)
        return Token(kind, text, name, "")
    if kind == "s":
        return Token(kind, text, text[1:-1] if text[0] in "'\"" else text, "")
    return Token(kind, text, text, "")


def _after_comment(sql: str, at: int) -> int:
    """Where a nested comment ends; -1 when it does not."""
    depth = 1
    while depth:
        match = _COMMENT.search(sql, at)
        if match is None:
            return -1
        depth += 1 if match.group() == "/*" else -1
        at = match.end()
    return at
