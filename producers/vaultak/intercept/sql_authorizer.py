"""SQLite asks before it prepares a statement: what judges those that reach it past the governed classes.

Connections made before the monitor or by a callable factory, and the original classes' methods, found through
`__mro__`: each table is an action for being read and one for being written. A statement that is still in the driver's
cache is not prepared again.
"""

from __future__ import annotations

import gc
import logging
import sqlite3
import sys
from collections.abc import Callable
from functools import _lru_cache_wrapper
from types import FrameType
from typing import Any, Final

from vaultak.errors import ActionDeniedError, AgentKilledError
from vaultak.governor import Governor, current
from vaultak.intercept import paths, sql_files
from vaultak.intercept.hook import faults
from vaultak.intercept.sql_execution import resources, under_way
from vaultak.intercept.trust import origins
from vaultak.policy.resources import ANY_FILE
from vaultak.wire import ActionType, OutcomeStatus

log = logging.getLogger("vaultak.intercept")

_Connection = sqlite3.Connection
_Cursor = sqlite3.Cursor
"""As the module had them before the governed classes took their names."""

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

_INSERT, _DELETE, _UPDATE, _READ, _SELECT = 18, 9, 23, 20, 21
_ATTACH: Final = 24
_TABLES: Final = {2: "CREATE", 4: "CREATE", 8: "CREATE", 29: "CREATE", 11: "DROP", 13: "DROP", 17: "DROP", 30: "DROP",
                  _DELETE: "DELETE", _INSERT: "INSERT", _UPDATE: "UPDATE", _READ: "SELECT", 28: "ANALYZE"}  # fmt: skip
"""Action codes whose first name is a table's or a view's."""
_SECOND: Final = {1: "CREATE", 3: "CREATE", 5: "CREATE", 7: "CREATE", 10: "DROP", 12: "DROP", 14: "DROP", 16: "DROP",
                  26: "ALTER"}  # fmt: skip
"""Action codes whose second name is a table's."""
MAX_SEEN: Final = 256


class Watch:
    """The authorizer of one connection. `own` is the host's, asked first."""

    __slots__ = ("_connection_id", "_database", "_seen", "own")

    def __init__(self, connection: Any, database: str) -> None:
        self._connection_id, self._database = id(connection), database
        self._seen: set[tuple[Any, ...]] = set()
        """What was judged of the statement under preparation."""
        self.own: Authorizer | None = None

    @property
    def __name__(self) -> str:
        """The host's, as it is told when that fails."""
        return str(getattr(self.own, "__name__", "authorizer"))

    def __call__(self, code: int, a: str | None, b: str | None, schema: str | None, inner: str | None) -> int:
        said = sqlite3.SQLITE_OK if self.own is None else self.own(code, a, b, schema, inner)
        if said == sqlite3.SQLITE_DENY or (governor := current()) is None or not governor.intercepted:
            return said
        return said if self._allowed(governor, code, (a, b, schema), sys._getframe(1)) else sqlite3.SQLITE_DENY

    def _allowed(self, governor: Governor, code: int, names: tuple[str | None, ...], caller: FrameType) -> bool:
        try:
            if origins.actor(caller)[1] or any(self._is_mine(held) for held in under_way()):
                return True
            asked = self._asked(code, names, caller)
            if asked is not None:
                governor.after(governor.before(*asked, assurance="patch"), OutcomeStatus.OK)
        except (ActionDeniedError, AgentKilledError):
            self._seen.clear()
            return False
        except Exception as e:  # noqa: BLE001 - a bug of ours does not stop the host's statement
            faults["sql:authorizer"] += 1
            log.warning("cannot judge a statement of SQLite: %s: %s", type(e).__name__, e)
        return True

    def _is_mine(self, held: object) -> bool:
        return id(held) == self._connection_id or id(getattr(held, "connection", None)) == self._connection_id

    def _asked(
        self, code: int, names: tuple[str | None, ...], caller: FrameType
    ) -> tuple[ActionType, str, dict[str, Any]] | None:
        first, second, schema = names
        if code == _ATTACH:
            file = ANY_FILE if first is None else paths.printable(sql_files.file_of(first))
            return self._action("ATTACH", "", [file] if file else [])
        operation = _TABLES.get(code) or _SECOND.get(code)
        table = first if code in _TABLES else second
        if code == _SELECT:
            self._seen.clear()
        if operation is None or not table or table.lower().startswith("sqlite_"):
            return None
        # A column each: of those of one statement only the first is an action.
        if code in (_READ, _UPDATE):
            here = (id(caller), caller.f_lasti, code, schema, table)
            known = here in self._seen and (code == _READ or (*here, second) not in self._seen)
            if not known:
                kept = self._seen if len(self._seen) < MAX_SEEN else ()
                self._seen = {key for key in kept if key[: len(here)] != here}
            self._seen |= {here, (*here, second)}
            if known:
                return None
        return self._action(operation, f"{schema}.{table}" if schema else table, [])

    def _action(self, operation: str, table: str, files: list[str]) -> tuple[ActionType, str, dict[str, Any]]:
        reached = resources("sqlite", self._database, (table,) if table else ())
        payload = {
            "operation": operation,
            "operations": (operation,),
            "tables": (table,) if table else (),
            "resources": [*reached, *files],
        }
        kind = ActionType.DATABASE_QUERY if operation == "SELECT" else ActionType.DATABASE_WRITE
        return kind, reached[0], payload


def watch(connection: Any, database: str) -> Watch:
    """Have SQLite ask about each statement of a connection. Raises `sqlite3.Error`: closed, or another thread's."""
    made = Watch(connection, database)
    _Connection.set_authorizer(connection, made)
    return made


def watch_earlier() -> None:
    """Watch the connections that were made already. One that has callbacks of its own is left: they would be lost."""
    for found in gc.get_objects():  # not by `isinstance`: it would run the `__class__` of proxies
        if _Connection in type(found).__mro__ and not hasattr(found, "_vaultak_database"):
            watch_foreign(found)


def watch_foreign(connection: sqlite3.Connection) -> None:
    """Watch a connection of the host's own making."""
    held = [r for r in gc.get_referents(connection) if callable(r) and not isinstance(r, type | _lru_cache_wrapper)]
    if held and not (len(held) == 1 and held[0] is connection.row_factory):
        log.warning("an SQLite connection with callbacks of its own is judged by its file alone")
        return
    try:
        _Connection.in_transaction.__get__(connection)  # raises where there is no database: a cursor of it would crash
        cursor = _Cursor(connection)
        cursor.row_factory = None
        listed = _Cursor.execute(cursor, "PRAGMA database_list").fetchall()
        file = next((str(row[2] or "") for row in listed if row[1] == "main"), "")
        watch(connection, paths.printable(sql_files.file_of(file) or ":memory:").lstrip("/"))
    except sqlite3.Error as e:
        log.warning("an SQLite connection made earlier is judged by its file alone: %s", e)
