"""What SQLite committed: the rows that governed statements change are noted, and put back where they are unchanged.

TEMP triggers note them in TEMP tables, so that the notes are committed and rolled back with the rows themselves.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

from vaultak.undo.compensation import ConflictError
from vaultak.undo.sql import CommittedError
from vaultak.undo.sql_tables import MAX_ROWS, Parameters, Run, Table, described

log = logging.getLogger("vaultak.undo")

MAX_TABLES: Final = 32
"""Of one connection. Each needs a table and three triggers."""
MAX_KEPT_ROWS: Final = 20_000
"""Held in memory once the connection is closed."""
MAX_KEPT_BYTES: Final = 16 << 20
WAIT_S: Final = 2.0
"""For the lock of a file whose connection is in the middle of another transaction."""

_Connect = sqlite3.Connection
"""As the module had it before the governed class took its name."""

Note = tuple[Any, ...]
"""(number, action, kind, value, whether it is text, value, whether it is text ...): text as its bytes, because it need
not be valid."""


class RowLog:
    """The rows that governed statements changed through one connection. Thread-safe.

    `run` executes on it from any thread, `open` says whether it is in a transaction; both raise `sqlite3.Error` once it
    is closed. `close` is to be called before that.
    """

    def __init__(self, run: Run, is_open: Callable[[], bool]) -> None:
        self._run, self._is_open = run, is_open
        self._lock = threading.RLock()
        self._tables: dict[str, Table] = {}
        self._known: dict[str, Table] = {}
        """Those that need no second look, while `_schema` holds."""
        self._volatile: set[str] = set()
        """Those whose log was made within the open transaction, and goes with it."""
        self._schema: object = None
        self._last = self._floor = 0
        self._under_way = 0
        self._kept: dict[str, list[Note]] | None = None
        self._file = ""
        self._foreign_keys = False
        self.installed = False
        """Whether the connection knows `action` as the SQL function `vaultak_action`."""

    def action(self) -> int:
        """What the triggers ask: the number of the action under way, 0 for none."""
        return self._under_way

    def prepare(self, tables: tuple[str, ...]) -> None:
        """Make the logs of these tables, best outside a transaction. Raises `CommittedError` when that cannot be."""
        with self._lock:
            if self._state() != self._schema:
                self._known.clear()
            for table in tables:
                if table.lower() not in self._known:
                    self._prepare(table)
            self._schema = self._state()
            if not self._is_open():
                self._volatile.clear()
            self._foreign_keys = bool(self._run("PRAGMA foreign_keys")[0][0])

    def begin(self) -> int:
        """Note from now on, until `end`, what changes in the prepared tables. Returns the action's number."""
        with self._lock:
            self._make_room()
            self._last += 1
            self._under_way = self._last
            return self._last

    def forget(self) -> None:
        """What was noted is not to be relied on any more."""
        self._floor = self._last + 1

    def end(self) -> None:
        self._under_way = 0

    def _state(self) -> object:
        """Changes when any table, trigger or setting that matters does."""
        return [self._run(f"PRAGMA {what}") for what in ("schema_version", "temp.schema_version", "foreign_keys")]

    def _prepare(self, name: str) -> None:
        schema, _, bare = name.rpartition(".")
        if schema.lower() not in ("", "main"):
            raise CommittedError(f"`{name}` is not in the main database")
        known = self._tables.get(bare.lower())
        if known is None and len(self._tables) >= MAX_TABLES:
            raise CommittedError(f"more than {MAX_TABLES} tables were written")
        table = described(self._run, bare, known.log if known else f"vaultak_log_{len(self._tables)}")
        there = self._run("SELECT count(*) FROM temp.sqlite_master WHERE name LIKE ?", (f"{table.log}%",))[0][0]
        if table != known or not there:
            if there:
                self._run(f"DROP TABLE temp.{table.log}")
                for kind in ("INSERT", "UPDATE", "DELETE"):
                    self._run(f"DROP TRIGGER IF EXISTS temp.{table.log}_{kind}")
                self.forget()
            for sql in table.setup():
                self._run(sql)
            if self._is_open():
                self._volatile.add(bare.lower())
        self._tables[bare.lower()] = self._known[name.lower()] = table

    def _make_room(self) -> None:
        """Before a statement, so that half of the log is always free for it."""
        for table in self._known.values():
            if (self._run(f"SELECT max(n) FROM temp.{table.log}")[0][0] or 0) >= MAX_ROWS // 2:  # noqa: S608 - ours
                self._run(f"DELETE FROM temp.{table.log}")  # noqa: S608 - our own name
                self.forget()

    def take_back(self, action: int) -> None:
        """Put back what an action changed and what was committed of it. Raises `ConflictError`, `CommittedError`."""
        with self._lock:
            if action < self._floor:
                raise CommittedError("too much was written since, or the table was changed")
            try:
                notes = self._notes(action)
                if not any(notes.values()):
                    return
                file = self._file if self._kept is not None else self._path()
                if file:
                    self._in_file(file, notes)
                elif self._kept is None and not self._is_open():
                    self._on(self._run, notes)
                else:
                    raise ConflictError("another transaction is open on its connection")
            except sqlite3.IntegrityError as e:
                raise ConflictError(f"changed since: {e}") from e
            except sqlite3.OperationalError as e:
                if "locked" in str(e):
                    raise ConflictError(f"another transaction is open: {e}") from e
                raise

    def _path(self) -> str:
        return next((str(row[2] or "") for row in self._run("PRAGMA database_list") if row[1] == "main"), "")

    def _notes(self, action: int) -> dict[str, list[Note]]:
        """What was noted of one action, newest first, by table."""
        if self._kept is None:
            found = self._read(action)
        else:
            found = {k: [note for note in notes if note[1] == action] for k, notes in self._kept.items()}
        if any(notes and notes[0][0] >= MAX_ROWS for notes in found.values()):
            raise CommittedError(f"it changed more than {MAX_ROWS // 2} rows")
        return found

    def _read(self, action: int | None) -> dict[str, list[Note]]:
        found = {}
        for name, table in self._tables.items():
            if name in self._volatile and not self._run(
                "SELECT 1 FROM temp.sqlite_master WHERE name = ?", (table.log,)
            ):
                continue
            read = ", ".join(
                f"CASE typeof({v}) WHEN 'text' THEN CAST({v} AS BLOB) ELSE {v} END, typeof({v}) = 'text'"
                for v in table.values
            )
            found[name] = self._run(
                f"SELECT n, action, kind, {read} FROM temp.{table.log}"  # noqa: S608 - our own names
                " WHERE :action IS NULL OR action = :action ORDER BY n DESC",
                {"action": action},
            )
        return found

    def _in_file(self, file: str, notes: dict[str, list[Note]]) -> None:
        """Over a connection of its own: what the host has open is neither committed nor lost by it."""
        with closing(_Connect(file, timeout=WAIT_S, isolation_level=None)) as connection:

            def run(sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
                cursor = connection.execute(sql, parameters)
                return cursor.fetchall() if cursor.description else [(cursor.rowcount,)]

            run(f"PRAGMA foreign_keys = {int(self._foreign_keys)}")
            for name in [name for name, rows in notes.items() if rows]:
                table = self._tables[name]
                run(table.empty())
                slots = ", ".join("CASE ? WHEN 1 THEN CAST(? AS TEXT) ELSE ? END" for _ in table.values)
                for n, action, kind, *read in notes[name]:
                    bound = [x for v, text in zip(read[::2], read[1::2], strict=True) for x in (text, v, v)]
                    run(f"INSERT INTO {table.log} VALUES (?, ?, ?, {slots})", (n, action, kind, *bound))  # noqa: S608
            self._on(run, notes)

    def _on(self, run: Run, notes: dict[str, list[Note]]) -> None:
        run("BEGIN IMMEDIATE")
        try:
            run("PRAGMA defer_foreign_keys = ON")
            for name, rows in notes.items():
                for note in rows:
                    if run(self._tables[name].back(note[2]), {"n": note[0]}) != [(1,)]:
                        raise ConflictError(f"a row of `{name}` was changed since")
            run("COMMIT")
        except BaseException:
            run("ROLLBACK")
            raise

    def close(self) -> None:
        """Take the notes over, before the connection is closed. Those of an open transaction end with it."""
        with self._lock:
            if self._kept is not None:
                return
            self._kept = {}
            if not self._tables:
                return
            notes: dict[str, list[Note]] = {}
            try:
                if self._is_open():
                    self._run("ROLLBACK")  # as closing does; with it go the notes of what it wrote
                self._file = self._path()
                notes = self._read(None) if self._file else {}
            except sqlite3.Error as e:
                log.warning("what was written through a closed connection stays: %s", e)
            kept_bytes = sum(len(v) for rows in notes.values() for r in rows for v in r if isinstance(v, bytes | str))
            fits = sum(map(len, notes.values())) <= MAX_KEPT_ROWS and kept_bytes <= MAX_KEPT_BYTES
            if notes and fits:
                self._kept = notes
            else:
                self.forget()
