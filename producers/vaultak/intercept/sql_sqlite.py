"""sqlite3: connections and cursors are of subclasses that judge each statement; its own classes cannot be patched.

A connection made before the monitor was installed keeps its class, and is judged by its file alone.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from functools import lru_cache, partial, wraps
from types import FunctionType
from typing import Any, Final, TypeAlias, cast
from weakref import ref

from vaultak.intercept import paths, sql_authorizer, sql_files
from vaultak.intercept.patching import patch_method
from vaultak.intercept.sql_execution import Execution, executes
from vaultak.intercept.sql_text import Statements, parse
from vaultak.intercept.trust import origins
from vaultak.undo import UndoLog
from vaultak.undo.sql import COMMITTED, CommittedError, Savepoints
from vaultak.undo.sql_rows import RowLog
from vaultak.undo.sql_tables import Parameters

_BASE_CONNECTION: TypeAlias = sqlite3.Connection
_BASE_CURSOR: TypeAlias = sqlite3.Cursor
_CHANGES_ROWS = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE"})
_CHECKED = (
    "create_function", "create_aggregate", "create_window_function", "create_collation", "iterdump", "serialize",
    "set_progress_handler", "set_trace_callback", "enable_load_extension", "load_extension", "blobopen", "backup",
    "deserialize", "getlimit", "setlimit", "getconfig", "setconfig",
)  # fmt: skip
_MODULES = ("sqlite3", "sqlite3.dbapi2", "_sqlite3")
_LEGACY: Final = -1
"""`sqlite3.LEGACY_TRANSACTION_CONTROL`, from Python 3.12 on."""
_SERIALIZED: Final = 3
"""`sqlite3.threadsafety` where a connection may be used by any thread, as it nearly always is."""
MAX_CLASSES = 256


class _Kind(type):
    """Lets objects of the original class pass for the governed one's, as code that tests for it expects."""

    def __instancecheck__(cls, instance: object) -> bool:
        return type.__instancecheck__(_stands_for.get(cls, cls), instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return type.__subclasscheck__(_stands_for.get(cls, cls), subclass)


class Cursor(_BASE_CURSOR, metaclass=_Kind):
    """A cursor whose statements are judged."""

    __module__ = "sqlite3"

    def execute(self, *args: Any) -> Any:
        _own_thread(self.connection)
        return _BASE_CURSOR.execute(self, *args)

    def executemany(self, *args: Any) -> Any:
        _own_thread(self.connection)
        return _BASE_CURSOR.executemany(self, *args)

    def executescript(self, *args: Any) -> Any:
        _own_thread(self.connection)
        return _BASE_CURSOR.executescript(self, *args)

    def fetchone(self) -> Any:
        _own_thread(self.connection)
        return _BASE_CURSOR.fetchone(self)

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        _own_thread(self.connection)
        return _BASE_CURSOR.fetchmany(self, *args, **kwargs)

    def fetchall(self) -> Any:
        _own_thread(self.connection)
        return _BASE_CURSOR.fetchall(self)


class Connection(_BASE_CONNECTION, metaclass=_Kind):
    """A connection whose statements are judged, and what it wrote taken back.

    SQLite itself is told to allow other threads, so that a rollback can come from any; the host's are refused here.
    """

    __module__ = "sqlite3"
    _vaultak_database = ""
    _vaultak_thread: int | None = None
    _vaultak_process = 0

    def __init__(self, database: Any, *args: Any, **kwargs: Any) -> None:
        self._vaultak_database = _database(database)
        self._vaultak_process = os.getpid()
        this = self._vaultak_link = _Link(self)
        self._vaultak_savepoints = Savepoints(this.run, this.is_open)
        self._vaultak_rows = RowLog(this.run, this.is_open)
        if sqlite3.threadsafety == _SERIALIZED:
            checked = args[3] if len(args) > 3 else kwargs.get("check_same_thread", True)
            args = (*args[:3], False, *args[4:]) if len(args) > 3 else args
            kwargs = kwargs if len(args) > 3 else {**kwargs, "check_same_thread": False}
            self._vaultak_thread = threading.get_ident() if checked else None
        _BASE_CONNECTION.__init__(self, database, *args, **kwargs)
        self._vaultak_watch = sql_authorizer.watch(self, self._vaultak_database)

    def set_authorizer(self, authorizer_callback: Any) -> None:
        _own_thread(self)
        self._vaultak_watch.own = authorizer_callback
        _BASE_CONNECTION.set_authorizer(self, self._vaultak_watch)  # statements prepared before are asked about anew

    def cursor(self, factory: Any = _BASE_CURSOR) -> Any:
        _own_thread(self)
        if factory is _BASE_CURSOR:
            return _BASE_CONNECTION.cursor(self, Cursor)
        return _BASE_CONNECTION.cursor(self, _governed(factory, _BASE_CURSOR, Cursor))

    # The originals make their cursor in C, of the original class.
    def execute(self, *args: Any) -> Any:
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        return self.cursor().executescript(*args)

    def commit(self) -> None:
        _own_thread(self)
        self._vaultak_savepoints.ending(lambda: _BASE_CONNECTION.commit(self))

    def rollback(self) -> None:
        _own_thread(self)
        self._vaultak_savepoints.ending(lambda: _BASE_CONNECTION.rollback(self))

    def close(self) -> None:
        _own_thread(self)
        if self._vaultak_process:
            self._vaultak_rows.close()
        _BASE_CONNECTION.close(self)

    def __del__(self) -> None:
        if self._vaultak_process == os.getpid():
            self._vaultak_link.last = self
            self._vaultak_rows.close()
            self._vaultak_link.last = None
        finalize = getattr(_BASE_CONNECTION, "__del__", None)
        if finalize is not None:
            finalize(self)

    def __exit__(self, *exc: Any) -> Any:
        _own_thread(self)
        return self._vaultak_savepoints.ending(lambda: _BASE_CONNECTION.__exit__(self, *exc))


class GoneError(sqlite3.ProgrammingError):
    """The connection does not exist any more."""


class _Link:
    """Reaches a connection without keeping it alive."""

    __slots__ = ("_ref", "last")

    def __init__(self, connection: Connection) -> None:
        self._ref = ref(connection)
        self.last: Connection | None = None
        """The connection while it is finalized: references to it are dead by then."""

    def run(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Execute, unjudged; the rows it gives, or how many it reached."""
        connection = self.last or self._ref()
        if connection is None:
            raise GoneError("its connection is gone")
        _BASE_CONNECTION.in_transaction.__get__(connection)  # as in `sql_authorizer.watch_foreign`
        cursor = _BASE_CURSOR(connection)
        cursor.row_factory = None
        _BASE_CURSOR.execute(cursor, sql, parameters)
        return _BASE_CURSOR.fetchall(cursor) if cursor.description else [(cursor.rowcount,)]

    def is_open(self) -> bool:
        connection = self.last or self._ref()
        return connection is not None and bool(_BASE_CONNECTION.in_transaction.__get__(connection))


def _own_thread(connection: Any) -> None:
    """What SQLite's module checks unless `check_same_thread=False`. Rows that a `for` gives go unchecked, for speed."""
    owner = getattr(connection, "_vaultak_thread", None)
    if owner is not None and owner != (here := threading.get_ident()):
        raise sqlite3.ProgrammingError(
            "SQLite objects created in a thread can only be used in that same thread."
            f" The object was created in thread id {owner} and this is thread id {here}."
        )


_stands_for: dict[type, type] = {Cursor: _BASE_CURSOR, Connection: _BASE_CONNECTION}


@lru_cache(MAX_CLASSES)
def _derived(factory: type, governed: type) -> type:
    body = {"__module__": factory.__module__, "__qualname__": factory.__qualname__, "__doc__": factory.__doc__}
    return type(governed)(factory.__name__, (factory, governed), body)


def _governed(factory: Any, base: type, governed: type) -> Any:
    """A class of the host's own with the governed one mixed in; a callable that is no class is left as it is."""
    if factory is base:
        return governed
    if isinstance(factory, type) and base in factory.__mro__ and governed not in factory.__mro__:
        return _derived(factory, governed)
    return factory


def _database(database: Any) -> str:
    name = paths.text(database) if isinstance(database, str | bytes | os.PathLike) else "*"
    return paths.printable(sql_files.file_of(name) or ":memory:").lstrip("/")


def _keeper(connection: Any, database: str) -> Callable[[UndoLog, str, Statements], Callable[[], None] | None]:
    def keep(undo: UndoLog, action_id: str, read: Statements) -> Callable[[], None] | None:
        points: Savepoints = connection._vaultak_savepoints
        what = f"{read.operation} in sqlite `{database}`"
        if {"SAVEPOINT", "RELEASE"} & set(read.operations):
            points.others = True
        rows: RowLog = connection._vaultak_rows
        changes_rows = len(read.operations) == 1 and read.operation in _CHANGES_ROWS
        reason = "" if changes_rows else COMMITTED
        try:
            if changes_rows:
                _prepare(connection, rows, read)
        except (CommittedError, sqlite3.Error) as e:
            reason = f"{COMMITTED}; {e}"
        if any("vaultak_log_" in table.lower() for table in read.tables):
            rows.forget()
        if not connection.in_transaction:
            points.over()
            if changes_rows and connection.isolation_level is not None and _begins_by_itself(connection):
                points.begin(f"BEGIN {connection.isolation_level}")
        action = 0 if reason else rows.begin()
        committed = partial(_committed, rows, action, reason)
        if connection.in_transaction:
            try:
                points.before_write(undo, action_id, what, committed)
            except sqlite3.OperationalError:  # another statement is still writing: no savepoint until it is over
                undo.register(action_id, committed, what)
        else:
            undo.register(action_id, committed, what)
        return rows.end if action else None

    return keep


def _begins_by_itself(connection: Any) -> bool:
    """Whether the driver opens a transaction ahead of a change: not under the `autocommit` of Python 3.12."""
    return bool(getattr(connection, "autocommit", _LEGACY) == _LEGACY)


def _prepare(connection: Any, rows: RowLog, read: Statements) -> None:
    if read.replaces:
        raise CommittedError("what it replaces is not noted")
    if not rows.installed:
        _BASE_CONNECTION.create_function(connection, "vaultak_action", 0, rows.action)
        rows.installed = True
    rows.prepare(read.tables)


def _committed(rows: RowLog, action: int, reason: str) -> None:
    if not action:
        raise CommittedError(reason)
    rows.take_back(action)


def _script(cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    """`executescript` commits first: only what it writes within a transaction of its own could go back."""
    execution = _statement(cursor, args, kwargs)
    database = execution.database
    refuse = Savepoints.unsupported
    return execution._replace(
        keep=lambda undo, action_id, _read: refuse(undo, action_id, f"script in sqlite `{database}`", "it commits")
    )


def _statement(cursor: Any, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Execution:
    connection = cursor.connection
    sql, params = args[0], args[1] if len(args) > 1 else ()
    if not isinstance(sql, str):
        raise TypeError("SQL must be text")
    database = getattr(connection, "_vaultak_database", "")
    if not database:  # a governed cursor of a connection that is not
        return Execution("sqlite", "*", sql, _length(params), files=sql_files.of_statement(sql, params))
    if "savepoint" in sql.lower() or "release" in sql.lower():
        connection._vaultak_savepoints.others |= bool({"SAVEPOINT", "RELEASE"} & set(parse(sql, "sqlite").operations))
    files = sql_files.of_statement(sql, params)
    return Execution("sqlite", database, sql, _length(params), keep=_keeper(connection, database), files=files)


def _many(cursor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    rows = _length(args[1]) if len(args) > 1 else 0
    return _statement(cursor, args[:1], kwargs)._replace(rows=rows)


def _length(params: Any) -> int:
    try:
        return len(params) if hasattr(params, "__len__") else 0
    except Exception:  # noqa: BLE001 - the host's own class: the driver will say so
        return 0


def _blob(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    table = str(args[0]).replace('"', '""')
    if kwargs.get("readonly"):
        sql = f'SELECT * FROM "{table}" /* blobopen */'  # noqa: S608 - described, never executed
        return Execution("sqlite", connection._vaultak_database, sql)
    sql = f'UPDATE "{table}" /* blobopen */ SET x = x WHERE rowid'  # noqa: S608 - described, never executed
    return Execution("sqlite", connection._vaultak_database, sql)


def _backup(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    target = args[0] if args else kwargs.get("target")
    found: list[Any] = []
    if isinstance(target, _BASE_CONNECTION):
        with contextlib.suppress(sqlite3.Error):  # closed, or another thread's: the backup will say so
            _BASE_CONNECTION.in_transaction.__get__(target)
            cursor = _BASE_CURSOR(target)
            cursor.row_factory = None
            found = _BASE_CURSOR.execute(cursor, "PRAGMA database_list").fetchall()
    files = tuple(paths.printable(sql_files.file_of(str(row[2]))) for row in found if row[2])
    name = files[0].lstrip("/") if files else getattr(target, "_vaultak_database", "*")
    return Execution("sqlite", name, "/* backup into */", files=files, written=True)


def _deserialize(connection: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Execution:
    return Execution("sqlite", connection._vaultak_database, "/* deserialize */", written=True)


def connect(wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A wrapt wrapper of `sqlite3.connect`: the connection is of a governed class, or watched where a callable factory
    makes one that is not."""
    if len(args) > 5:
        args = (*args[:5], _governed(args[5], _BASE_CONNECTION, Connection), *args[6:])
    else:
        factory = _governed(kwargs.get("factory") or _BASE_CONNECTION, _BASE_CONNECTION, Connection)
        kwargs = {**kwargs, "factory": factory}
    made = wrapped(*args, **kwargs)
    if isinstance(made, _BASE_CONNECTION) and not hasattr(made, "_vaultak_watch"):
        sql_authorizer.watch_foreign(made)
    return made


def _checked(owner: type, base: Any, name: str) -> None:
    """Let the owning thread alone call a method that is otherwise as it was."""
    original = getattr(base, name, None)
    if original is None:
        return

    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        _own_thread(self if owner is Connection else self.connection)
        return original(self, *args, **kwargs)

    setattr(owner, name, method)
    origins.make_transparent(cast(FunctionType, method))


for _name in _CHECKED:
    _checked(Connection, _BASE_CONNECTION, _name)
_checked(Cursor, _BASE_CURSOR, "close")
for _class in (Connection, Cursor):
    for _method in (_class.execute, _class.executemany, _class.executescript):
        origins.make_transparent(cast(FunctionType, _method))


def patch() -> None:
    """Put the governed classes under the module's names, and the judgement into them."""

    def rows(cursor: Any, _result: Any) -> Any:
        return cursor.rowcount

    patch_method(Cursor, "execute", executes("sqlite.execute", _statement, rows, outermost=True))
    patch_method(Cursor, "executemany", executes("sqlite.executemany", _many, rows, outermost=True))
    patch_method(Cursor, "executescript", executes("sqlite.executescript", _script, outermost=True))
    for name, describe in {"blobopen": _blob, "backup": _backup, "deserialize": _deserialize}.items():
        patch_method(Connection, name, executes(f"sqlite.{name}", describe, outermost=True))
    for module in map(sys.modules.get, _MODULES):
        if module is not None:
            module.Connection, module.Cursor = Connection, Cursor  # type: ignore[attr-defined]
    sql_authorizer.watch_earlier()
