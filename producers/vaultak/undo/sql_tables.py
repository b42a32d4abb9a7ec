"""A SQLite table whose changed rows can be noted and put back: its columns, and the SQL for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from vaultak.undo.sql import CommittedError

MAX_ROWS: Final = 10_000
"""Noted of one table; a statement that changes more cannot be taken back."""
_ALIASES: Final = ("rowid", "_rowid_", "oid")

Parameters = tuple[Any, ...] | dict[str, Any]
Run = Callable[..., list[tuple[Any, ...]]]
"""Executes SQL with parameters, unjudged, and returns its rows."""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Table(NamedTuple):
    """One ordinary table of the `main` database."""

    name: str
    log: str
    """Of the temporary table in which its rows are noted."""
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    """What finds a row: its row id, or the primary key where there is none."""
    rowid: str
    """Empty where a column stands for it, or the table has none."""

    @property
    def all(self) -> tuple[str, ...]:
        """The columns to be noted, the row id with them."""
        return (*self.columns, self.rowid) if self.rowid else self.columns

    @property
    def values(self) -> tuple[str, ...]:
        """The log's columns for the row before and after."""
        return tuple(f"{c}{i}" for c in "on" for i in range(len(self.all)))

    def empty(self) -> str:
        return f"CREATE TEMP TABLE {self.log} (n INTEGER PRIMARY KEY, action, kind, {', '.join(self.values)})"

    def setup(self) -> list[str]:
        """Make the log and the triggers that fill it while `vaultak_action()` says that an action is under way."""
        old = [f"o{i}" for i in range(len(self.all))]
        new = [f"n{i}" for i in range(len(self.all))]
        made = [self.empty()]
        for kind, filled in (("INSERT", new), ("UPDATE", old + new), ("DELETE", old)):
            values = [f"{'old' if f[0] == 'o' else 'new'}.{self._column(int(f[1:]))}" for f in filled]
            made.append(  # names are quoted
                f"CREATE TEMP TRIGGER {self.log}_{kind} AFTER {kind} ON main.{quoted(self.name)}"  # noqa: S608
                f" WHEN vaultak_action() > 0 AND coalesce((SELECT max(n) FROM {self.log}), 0) < {MAX_ROWS}"
                f" BEGIN INSERT INTO {self.log} (action, kind, {', '.join(filled)})"
                f" VALUES (vaultak_action(), '{kind}', {', '.join(values)}); END"
            )
        return made

    def back(self, kind: str) -> str:
        """SQL that takes back the noted row numbered `:n`; it reaches no row when that has changed since."""
        names = ", ".join(self._column(i) for i in range(len(self.all)))
        old = ", ".join(f"o{i}" for i in range(len(self.all)))
        table = f"main.{quoted(self.name)}"
        noted = f"FROM temp.{self.log} WHERE n = :n"
        if kind == "DELETE":
            return f"INSERT INTO {table} ({names}) SELECT {old} {noted}"
        same = " AND ".join(f"l.n{i} IS vaultak_x.{self._column(i)} COLLATE BINARY" for i in range(len(self.all)))
        keys = [(key, self.all.index(key)) for key in self.keys]
        found = " AND ".join(f"vaultak_x.{quoted(key)} IS (SELECT n{i} {noted})" for key, i in keys)
        where = f"{found} AND EXISTS (SELECT 1 FROM temp.{self.log} l WHERE l.n = :n AND {same})"  # noqa: S608
        if kind == "INSERT":
            return f"DELETE FROM {table} AS vaultak_x WHERE {where}"  # noqa: S608 - names are quoted
        return f"UPDATE {table} AS vaultak_x SET ({names}) = (SELECT {old} {noted}) WHERE {where}"  # noqa: S608

    def _column(self, i: int) -> str:
        return quoted(self.all[i])


def described(run: Run, name: str, log: str) -> Table:
    """Read a table's definition. Raises `CommittedError`, with the reason, when its rows cannot be put back."""
    found = run("SELECT name, type, sql FROM main.sqlite_master WHERE name = ? COLLATE NOCASE", (name,))
    hidden = run("SELECT 1 FROM temp.sqlite_master WHERE name = ? COLLATE NOCASE", (name,))
    if not found or hidden or found[0][1] != "table" or name.lower().startswith("sqlite_"):
        raise CommittedError(f"`{name}` is no ordinary table of the main database")
    name, _, sql = found[0]
    if "replace" in str(sql).lower():
        raise CommittedError(f"`{name}` replaces rows in conflict")
    _no_chain(run, name)
    columns = run("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?, 'main')", (name,))
    if any(c[3] == 1 for c in columns):
        raise CommittedError(f"`{name}` is a virtual table")
    stored = tuple(str(c[0]) for c in columns if not c[3])
    keys = [c for c in sorted(columns, key=lambda c: c[2]) if c[2]]
    names = tuple(str(c[0]) for c in keys)
    rowid = _rowid(run, name, {str(c[0]).lower() for c in columns})
    if not rowid or (len(keys) == 1 and str(keys[0][1]).upper() == "INTEGER"):
        return Table(name, log, stored, names, "")
    return Table(name, log, stored, (rowid,), rowid)


def _no_chain(run: Run, name: str) -> None:
    """What the database changes further on its own account would not be put back, or be done once more."""
    if run(
        "SELECT 1 FROM (SELECT type, tbl_name, name FROM main.sqlite_master UNION ALL"
        " SELECT type, tbl_name, name FROM temp.sqlite_master)"
        " WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE AND name NOT LIKE 'vaultak\\_log\\_%' ESCAPE '\\'",
        (name,),
    ):
        raise CommittedError(f"`{name}` has triggers of its own")
    if run("PRAGMA foreign_keys")[0][0] and run(
        "SELECT 1 FROM main.sqlite_master m, pragma_foreign_key_list(m.name) f"
        " WHERE m.type = 'table' AND f.\"table\" = ? COLLATE NOCASE"
        " AND NOT (f.on_update IN ('NO ACTION', 'RESTRICT') AND f.on_delete IN ('NO ACTION', 'RESTRICT'))",
        (name,),
    ):
        raise CommittedError(f"changes of `{name}` go on to other tables by foreign keys")


def _rowid(run: Run, name: str, taken: set[str]) -> str:
    import sqlite3

    free = next((alias for alias in _ALIASES if alias not in taken), "")
    if not free:
        raise CommittedError(f"`{name}` leaves no name for its row id")
    try:
        run(f"SELECT {free} FROM main.{quoted(name)} LIMIT 0")  # noqa: S608 - quoted
    except sqlite3.OperationalError:
        return ""
    return free
