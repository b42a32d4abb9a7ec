"""psycopg 3, psycopg2 and asyncpg: each statement is judged before it is sent.

psycopg2's classes are written in C: its connections and cursors become subclasses when `psycopg2.connect` makes them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from vaultak import governor
from vaultak.intercept.patching import patch_method, when_imported
from vaultak.intercept.sql_execution import Execution, executes, executes_async
from vaultak.intercept.sql_text import Statements
from vaultak.undo import UndoLog
from vaultak.undo.sql import Savepoints

_DIALECT = "postgresql"
_points: WeakKeyDictionary[Any, Savepoints] = WeakKeyDictionary()


def _text(query: Any, connection: Any) -> str:
    if isinstance(query, str):
        return query
    if isinstance(query, bytes):
        return query.decode("utf-8", "replace")
    return str(query.as_string(connection))


def _length(params: Any) -> int:
    return len(params) if hasattr(params, "__len__") else 0


def _keeper(connection: Any, is_open: Callable[[], bool], run: Callable[[str], object]) -> Callable[..., None]:
    def keep(undo: UndoLog, action_id: str, read: Statements) -> None:
        points = _points.get(connection)
        if points is None:
            points = _points[connection] = Savepoints(run, is_open)
        what = f"{read.operation} in postgresql"
        if connection.autocommit and not is_open():
            points.unsupported(undo, action_id, what, "it was committed as it ran")
            return
        if not is_open():
            points.over()
        points.before_write(undo, action_id, what)

    return keep


def _psycopg(cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    query = args[0] if args else kwargs.get("query", kwargs.get("statement"))
    params = args[1] if len(args) > 1 else kwargs.get("params")
    connection = cursor.connection
    execution = Execution(_DIALECT, connection.info.dbname, _text(query, connection), _length(params))
    if hasattr(connection, "__aenter__"):
        return execution
    pg = connection.pgconn

    def is_open() -> bool:
        return int(pg.transaction_status) in (2, 3)

    def run(sql: str) -> None:
        token = governor.activate(None)  # psycopg's own frames stand between, so that it would pass for the host's
        try:
            connection.cursor().execute(sql)
        finally:
            governor.deactivate(token)

    return execution._replace(keep=_keeper(connection, is_open, run))


def _psycopg_many(cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    rows = args[1] if len(args) > 1 else kwargs.get("params_seq")
    return _psycopg(cursor, args[:1], kwargs)._replace(rows=_length(rows))


def _psycopg2(cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    query = args[0] if args else kwargs.get("query")
    params = args[1] if len(args) > 1 else kwargs.get("vars")
    connection = cursor.connection
    base = sys.modules["psycopg2.extensions"].cursor

    def run(sql: str) -> None:
        base.execute(base(connection), sql)

    def is_open() -> bool:
        return int(connection.info.transaction_status) in (2, 3)

    text = _text(query, connection)
    return Execution(_DIALECT, connection.info.dbname, text, _length(params), keep=_keeper(connection, is_open, run))


def _psycopg2_many(cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    rows = args[1] if len(args) > 1 else kwargs.get("vars_list")
    return _psycopg2(cursor, args[:1], kwargs)._replace(rows=_length(rows))


def _psycopg2_copy(reads: bool) -> Callable[..., Execution]:
    def describe(cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
        table = str(args[1] if len(args) > 1 else kwargs.get("table")).replace('"', '""')
        sql = f'SELECT * FROM "{table}"' if reads else f'COPY "{table}" FROM STDIN'  # noqa: S608 - described, never executed
        return _psycopg2(cursor, (sql,), {})

    return describe


def _called(cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    return _psycopg2(cursor, (f"CALL {args[0] if args else kwargs.get('procname')}",), {})


def _rows(cursor: Any, _result: Any) -> Any:
    return cursor.rowcount


@lru_cache(256)
def _governed_cursor(factory: type) -> type:
    governed = type(factory.__name__, (factory,), {"__module__": factory.__module__, "__doc__": factory.__doc__})
    patch_method(governed, "execute", executes("psycopg2.execute", _psycopg2, _rows, outermost=True))
    patch_method(governed, "executemany", executes("psycopg2.executemany", _psycopg2_many, _rows, outermost=True))
    patch_method(governed, "callproc", executes("psycopg2.callproc", _called, outermost=True))
    patch_method(governed, "copy_expert", executes("psycopg2.copy_expert", _psycopg2, _rows, outermost=True))
    patch_method(governed, "copy_from", executes("psycopg2.copy_from", _psycopg2_copy(reads=False), outermost=True))
    patch_method(governed, "copy_to", executes("psycopg2.copy_to", _psycopg2_copy(reads=True), outermost=True))
    return governed


@lru_cache(256)
def _governed_connection(factory: type) -> type:
    def cursor(self: Any, *args: Any, **kwargs: Any) -> Any:
        original = sys.modules["psycopg2.extensions"].cursor
        at = kwargs.pop("cursor_factory", None) or (args[1] if len(args) > 1 else None)
        at = at or self.cursor_factory or original
        name = args[:1]
        chosen = _governed_cursor(at) if isinstance(at, type) else at
        return factory.cursor(self, *name, *args[2:], cursor_factory=chosen, **kwargs)  # type: ignore[attr-defined]

    body = {"__module__": factory.__module__, "__doc__": factory.__doc__, "cursor": cursor}
    return type(factory.__name__, (factory,), body)


def _connect(wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`connect(dsn, connection_factory, ...)` of psycopg2's C module."""
    factory = args[1] if len(args) > 1 else kwargs.get("connection_factory")
    factory = factory or sys.modules["psycopg2.extensions"].connection
    if isinstance(factory, type):
        factory = _governed_connection(factory)
    rest = {k: v for k, v in kwargs.items() if k != "connection_factory"}
    return wrapped(*args[:1], connection_factory=factory, **rest)


def _asyncpg(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    query = args[0] if args else kwargs.get("query", kwargs.get("command"))
    return Execution(_DIALECT, connection._params.database, _text(query, None), max(0, len(args) - 1))


def _asyncpg_many(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    rows = args[1] if len(args) > 1 else kwargs.get("args")
    return _asyncpg(connection, args[:1], kwargs)._replace(rows=_length(rows))


def _told(_connection: Any, status: Any) -> int | None:
    """The server's own words: `INSERT 0 2`, `UPDATE 5`."""
    last = status.rpartition(" ")[2] if isinstance(status, str) else ""
    return int(last) if last.isdecimal() else None


def _prepared(statement: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Execution:
    return _asyncpg(statement._connection, (statement._query, *args), {})


def _patch_psycopg() -> None:
    psycopg = sys.modules["psycopg"]
    for owner, wrap in (
        (psycopg.Cursor, executes), (psycopg.ServerCursor, executes),
        (psycopg.AsyncCursor, executes_async), (psycopg.AsyncServerCursor, executes_async),
    ):  # fmt: skip
        extra: dict[str, Any] = {"outermost": True} if wrap is executes else {}
        if "execute" in vars(owner):
            patch_method(owner, "execute", wrap("psycopg.execute", _psycopg, _rows, **extra))
        if "executemany" in vars(owner):
            patch_method(owner, "executemany", wrap("psycopg.executemany", _psycopg_many, _rows, **extra))
        for name in ("stream", "copy"):
            if name in vars(owner):
                patch_method(owner, name, executes(f"psycopg.{name}", _psycopg))


def _patch_asyncpg() -> None:
    connection = sys.modules["asyncpg.connection"].Connection
    prepared = sys.modules["asyncpg.prepared_stmt"].PreparedStatement
    patch_method(connection, "execute", executes_async("asyncpg.execute", _asyncpg, _told))
    patch_method(connection, "_execute", executes_async("asyncpg._execute", _asyncpg))
    patch_method(connection, "_executemany", executes_async("asyncpg._executemany", _asyncpg_many))
    patch_method(connection, "_copy_in", executes_async("asyncpg._copy_in", _asyncpg, _told))
    patch_method(connection, "_copy_out", executes_async("asyncpg._copy_out", _asyncpg, _told))
    patch_method(connection, "cursor", executes("asyncpg.cursor", _asyncpg))
    for name in ("fetch", "fetchval", "fetchrow", "fetchmany", "executemany"):
        patch_method(prepared, name, executes_async(f"asyncpg.prepared.{name}", _prepared))
    patch_method(prepared, "cursor", executes("asyncpg.prepared.cursor", _prepared))


def _patch_psycopg2() -> None:
    import wrapt

    wrapt.wrap_function_wrapper(sys.modules["psycopg2"], "_connect", _connect)


def patch() -> None:
    when_imported("psycopg", _patch_psycopg)
    when_imported("psycopg2", _patch_psycopg2)
    when_imported("asyncpg", _patch_asyncpg)
