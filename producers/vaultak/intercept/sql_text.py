"""What an SQL text does and to which tables, without a grammar: one pass over its tokens.

It errs on the safe side: a name it is not sure of is reported as a table, a statement it does not know as a write.
"""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import Final, NamedTuple

from vaultak.intercept.sql_tokens import Token, tokens

MAX_CACHED_CHARS = 4096
"""Longer texts are mostly literals and seldom come twice."""
MAX_CHARS = 1_000_000
"""A longer text is reported as unknown rather than read: reading costs about a microsecond per token."""
MAX_TABLES = 64

READS: Final = frozenset({"SELECT", "VALUES", "TABLE", "SHOW", "DESCRIBE", "DESC", "EXPLAIN"})
TRANSACTIONS: Final = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"})
SESSION: Final = frozenset({"CLOSE", "FETCH", "RESET", "UNLISTEN", "LISTEN", "DEALLOCATE", "DISCARD"})
"""Touch this session alone."""
_DML = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"})
_OTHERS = (
    "CREATE", "DROP", "ALTER", "TRUNCATE", "GRANT", "REVOKE", "COPY", "CALL", "DO", "EXECUTE", "PREPARE", "LOCK",
    "SET", "PRAGMA", "ATTACH", "DETACH", "VACUUM", "REINDEX", "ANALYZE", "RENAME", "LOAD", "USE", "HANDLER",
    "IMPORT", "COMMENT", "REFRESH", "CLUSTER", "NOTIFY", "DECLARE",
)  # fmt: skip
_VERBS = READS | TRANSACTIONS | SESSION | _DML | frozenset(_OTHERS)
_DANGER = ("DROP", "TRUNCATE", "ALTER", "DELETE", "ATTACH", "COPY", "UPDATE", "REPLACE", "MERGE", "GRANT", "REVOKE")
_NAMES_FOLLOW = frozenset({"FROM", "JOIN", "INTO", "UPDATE", "TABLE", "USING", "REFERENCES", "VIEW", "TRUNCATE",
                           "COPY", "STRAIGHT_JOIN", "VACUUM", "REINDEX", "ANALYZE", "INDEX", "TRIGGER"})  # fmt: skip
_NOT_UPDATE_AFTER = frozenset({"FOR", "DO", "KEY", "ON", "BEFORE", "AFTER", "OF", "OR"})
_FROM_OF_FUNCTIONS = frozenset({"EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "SUBSTR"})
_ENDS_LIST = frozenset({"WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "SET", "UNION", "EXCEPT", "INTERSECT", "WINDOW",
                        "RETURNING", "FETCH", "OFFSET", "FOR", "ON", "SELECT", "VALUES", "DEFAULT"})  # fmt: skip
_EFFECTS_OF_FUNCTIONS = frozenset(
    [
        "LOAD_EXTENSION",
        "WRITEFILE",
        "EDIT",
        "FTS3_TOKENIZER",
        "LO_IMPORT",
        "LO_EXPORT",
        "LO_UNLINK",
        "DBLINK",
        "DBLINK_EXEC",
        "SETVAL",
        "SET_CONFIG",
        "PG_TERMINATE_BACKEND",
        "PG_CANCEL_BACKEND",
        "PG_RELOAD_CONF",
        "PG_FILE_WRITE",
        "PG_READ_FILE",
        "PG_READ_BINARY_FILE",
        "QUERY_TO_XML",
        "LOAD_FILE",
        "SYS_EXEC",
        "SYS_EVAL",
    ]
)
_OPAQUE = frozenset({"UNKNOWN", "DO", "CALL", "HANDLER", "LOAD", "IMPORT"})
_RUN_TEXT = frozenset({"DBLINK", "DBLINK_EXEC", "QUERY_TO_XML", "QUERY_TO_XMLSCHEMA", "QUERY_TO_XML_AND_XMLSCHEMA",
                       "TS_STAT", "TS_REWRITE", "CURSOR_TO_XML", "CROSSTAB", "CONNECTBY"})  # fmt: skip
"""Functions that execute a string as SQL."""
_SAFE_PRAGMAS = frozenset(
    [
        "TABLE_INFO",
        "TABLE_XINFO",
        "TABLE_LIST",
        "INDEX_LIST",
        "INDEX_INFO",
        "INDEX_XINFO",
        "FOREIGN_KEY_LIST",
        "DATABASE_LIST",
        "COLLATION_LIST",
        "FUNCTION_LIST",
        "COMPILE_OPTIONS",
        "QUICK_CHECK",
        "INTEGRITY_CHECK",
        "FOREIGN_KEY_CHECK",
    ]
)


class Statements(NamedTuple):
    """What one text does, all its statements together."""

    operation: str
    """The most dangerous verb, `UNKNOWN` when there is one that is not known."""
    operations: tuple[str, ...]
    tables: tuple[str, ...]
    """As `table` or `schema.table`, unquoted names in lower case; those of the most dangerous statement first."""
    writes: bool
    predicate: bool
    """False when an UPDATE or DELETE has no WHERE."""
    replaces: bool = False
    """True when rows in conflict are replaced: `INSERT OR REPLACE`."""
    hides: bool = False
    """True when a string is executed as SQL: `PREPARE ... FROM '...'`, `query_to_xml('...')`."""

    @property
    def opaque(self) -> bool:
        """Whether it may reach any table: it cannot be read, or runs text or a procedure that is not seen."""
        return bool(_OPAQUE & set(self.operations)) or self.hides


UNKNOWN: Final = Statements("UNKNOWN", ("UNKNOWN",), (), True, False)


class _Statement(NamedTuple):
    operation: str
    tables: list[str]
    writes: bool
    predicate: bool


def parse(sql: str, dialect: str) -> Statements:
    """Read an SQL text of any length and content. `dialect`: sqlite, postgresql, mysql or anything else. Never raises
    for a `str`."""
    if len(sql) > MAX_CHARS:
        return UNKNOWN
    if dialect != "mysql" and "\0" in sql:
        return UNKNOWN
    return _cached(sql, dialect) if len(sql) <= MAX_CACHED_CHARS else _parse(sql, dialect)


def _parse(sql: str, dialect: str) -> Statements:
    words = tokens(sql, dialect)
    if words is None:
        return UNKNOWN
    found = [_statement(part, dialect) for part in _split(words)]
    if not found:
        return Statements("", (), (), False, True)
    found.sort(key=_danger)
    tables = tuple(dict.fromkeys(table for s in found for table in s.tables))[:MAX_TABLES]
    operations = tuple(dict.fromkeys(s.operation for s in found))
    writes, predicate = any(s.writes for s in found), all(s.predicate for s in found)
    replaces = any(t.key == "REPLACE" and after.text != "(" for t, after in itertools.pairwise(words))
    hides = any(
        (t.key or t.name.upper()) in _RUN_TEXT and after.text == "(" for t, after in itertools.pairwise(words)
    ) or (dialect == "mysql" and "PREPARE" in operations)
    return Statements(operations[0], operations, tables, writes, predicate, replaces, hides)


_cached = lru_cache(1024)(_parse)


def _danger(statement: _Statement) -> int:
    if statement.operation == "UNKNOWN":
        return -1
    if statement.operation in _DANGER:
        return _DANGER.index(statement.operation)
    return len(_DANGER) + (not statement.writes) + (statement.operation in TRANSACTIONS)


def _split(words: list[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in words:
        if token.text == ";" and token.kind == "p":
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _statement(words: list[Token], dialect: str) -> _Statement:
    verb = _verb(words)
    starts = {words[i + 1].key for i, t in enumerate(words[:-1]) if t.text == "(" and t.kind == "p"}
    calls = {
        t.key or t.name.upper() for t, after in itertools.pairwise(words) if after.text == "(" and after.kind == "p"
    }
    nested = starts & _DML if verb in READS else set()
    if verb in READS and nested and any(t.key == "WITH" for t in words):
        verb = min(nested, key=lambda v: _DANGER.index(v) if v in _DANGER else len(_DANGER))
    keys = {t.key for t in words}
    writes = (
        (verb not in READS | TRANSACTIONS | SESSION and not (verb == "PRAGMA" and _reading(words)))
        or bool(calls & _EFFECTS_OF_FUNCTIONS)
        or (verb == "SELECT" and "INTO" in keys)
    )
    predicate = verb not in ("UPDATE", "DELETE") or "WHERE" in keys
    return _Statement(verb, _tables(words, verb, dialect), writes, predicate)


def _verb(words: list[Token]) -> str:
    """The main verb; of `WITH` the one that follows its queries, of `EXPLAIN ANALYZE` the one that it runs."""
    depth, seen = 0, ""
    for token in words:
        if token.kind == "p":
            depth += (token.text == "(") - (token.text == ")")
            continue
        key = token.key
        if not seen and depth and key in READS:
            return key
        if depth and seen == "EXPLAIN" and key in ("ANALYZE", "ANALYSE"):
            seen = "ANALYZED"
        if depth:
            continue
        if not seen:
            if key not in ("WITH", "EXPLAIN"):
                return key if key in _VERBS else "UNKNOWN"
            seen = key
        elif seen == "EXPLAIN" and key in ("ANALYZE", "ANALYSE"):
            seen = "ANALYZED"
        elif key in _DML or key in ("SELECT", "VALUES", "TABLE") or (seen == "ANALYZED" and key == "CREATE"):
            return "EXPLAIN" if seen == "EXPLAIN" else key
        elif seen == "ANALYZED" and key == "WITH":
            seen = "WITH"
    return seen if seen == "EXPLAIN" else "UNKNOWN"


def _reading(words: list[Token]) -> bool:
    names = [t.key for t in words[1:] if t.kind in "wq"]
    return (len(words) in (2, 4) and not any(t.text in "=(" for t in words if t.kind == "p")) or (
        bool(names) and any(n in _SAFE_PRAGMAS for n in names[:2]) and not any(t.text == "=" for t in words)
    )


class _Frame:
    """One pair of parentheses."""

    __slots__ = ("expects", "function", "listing")

    def __init__(self, expects: bool, function: str) -> None:
        self.expects, self.function, self.listing = expects, function, expects


def _tables(words: list[Token], verb: str, dialect: str) -> list[str]:
    hidden = _queries(words)
    found: list[str] = []
    frames = [_Frame(expects=False, function="")]
    i, before = 0, ""
    target = False
    while i < len(words):
        token, key, frame = words[i], words[i].key, frames[-1]
        if token.kind == "p":
            if token.text == "(":
                frames.append(_Frame(frame.expects, before))
                frame.expects = False
            elif token.text == ")" and len(frames) > 1:
                frames.pop()
            elif token.text == ",":
                frame.expects = frame.listing
        elif frame.expects and token.kind in "wqs" and not (token.kind == "w" and _modifies(words, i, dialect)):
            name, i = _name(words, i)
            if key not in ("SELECT", "VALUES", "WITH") or token.kind != "w":
                if target or "." in name or not any(n == name and a <= i < b for n, a, b in hidden):
                    found.append(name)
                frame.expects = False
            else:
                frame.expects = frame.listing = False
            before = ""
            i += 1
            continue
        elif token.kind == "w" and _introduces(key, before, words, i, frame, verb):
            frame.expects = frame.listing = True
            target = key in ("INTO", "UPDATE", "TABLE") or before == "DELETE"
        elif token.kind == "w" and key in _ENDS_LIST:
            frame.listing = frame.expects = False
            if key == "ON" and verb in ("CREATE", "GRANT", "REVOKE", "COMMENT", "DROP"):
                frame.expects = True
        before = key if token.kind != "p" else ""
        i += 1
    return list(dict.fromkeys(found))


def _introduces(key: str, before: str, words: list[Token], i: int, frame: _Frame, verb: str) -> bool:
    if key not in _NAMES_FOLLOW:
        return False
    if key in ("VACUUM", "REINDEX", "ANALYZE", "COPY", "TRUNCATE"):
        return i == 0
    if key in ("VIEW", "INDEX", "TRIGGER"):
        return verb in ("CREATE", "DROP", "ALTER", "REFRESH", "REINDEX")
    if key == "UPDATE":
        return before not in _NOT_UPDATE_AFTER or (before == "OR" and verb != "CREATE")
    if key == "FROM":
        if frame.function in _FROM_OF_FUNCTIONS:
            return False
        return not (before == "DISTINCT" and i > 1 and words[i - 2].key in ("IS", "NOT"))
    return not (key == "USING" and i + 1 < len(words) and words[i + 1].text == "(" and verb != "MERGE")


def _modifies(words: list[Token], i: int, dialect: str) -> bool:
    """Whether a word stands between `TABLE` or `FROM` and the name: `IF NOT EXISTS`, `ONLY`, `LATERAL`."""
    key, after = words[i].key, words[i + 1].key if i + 1 < len(words) else ""
    if key in ("IF", "NOT"):
        return after in ("NOT", "EXISTS")
    if key == "EXISTS":
        return i > 0 and words[i - 1].key in ("IF", "NOT")
    if key in ("ONLY", "LATERAL", "CONCURRENTLY"):
        return dialect != "sqlite"
    if key in ("OR", "IGNORE", "LOW_PRIORITY", "QUICK", "ROLLBACK", "ABORT", "FAIL", "REPLACE"):
        return (
            i > 0 and (key == "OR" or words[i - 1].key in ("OR", "UPDATE", "FROM", "INTO")) and after not in ("", "SET")
        )
    return key in ("TABLE", "FULL", "VERBOSE", "FREEZE") and bool(re.match(r"\w", after))


def _name(words: list[Token], i: int) -> tuple[str, int]:
    parts = [words[i].name]
    while i + 2 < len(words) and words[i + 1].text == "." and words[i + 2].kind in "wqs":
        i += 2
        parts.append(words[i].name)
    return ".".join(parts[-2:]), i


def _queries(words: list[Token]) -> list[tuple[str, int, int]]:
    """Names that `WITH` gives to queries, and from where to where (indexes of tokens) they hide a table."""
    if not any(t.key == "WITH" for t in words):
        return []
    closes: dict[int, int] = {}
    opened: list[int] = []
    for i, token in enumerate(words):
        if token.kind == "p" and token.text == "(":
            opened.append(i)
        elif token.kind == "p" and token.text == ")" and opened:
            closes[opened.pop()] = i
    found = []
    for i, token in enumerate(words):
        if token.kind == "p" or i + 1 >= len(words) or (body := _body(words, i, closes)) is None:
            continue
        around = [b for a, b in closes.items() if a < i < b]
        recursive = any(t.key == "RECURSIVE" for t in words[:i])
        found.append((token.name, i if recursive else closes[body], min(around, default=len(words))))
    return found


def _body(words: list[Token], i: int, closes: dict[int, int]) -> int | None:
    """Where the query named at `i` opens: `name [(columns)] AS [[NOT] MATERIALIZED] (query)`."""
    if i == 0 or not (words[i - 1].key in ("WITH", "RECURSIVE") or words[i - 1].text == ","):
        return None
    at = i + 1
    if words[at].text == "(" and words[at].kind == "p":
        at = closes.get(at, len(words)) + 1
    if at >= len(words) or words[at].key != "AS":
        return None
    at += 1
    while at < len(words) and words[at].key in ("NOT", "MATERIALIZED"):
        at += 1
    opens = at in closes and at + 1 < len(words) and words[at + 1].key in READS | _DML | {"WITH"}
    return at if opens else None
