"""One execution of SQL text by governed code: judged before it runs, kept for a rollback, recorded with its outcome."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from types import FrameType, FunctionType
from typing import Any, Final, NamedTuple, cast

from vaultak.errors import ActionDeniedError, AgentKilledError
from vaultak.governor import Governor, current
from vaultak.intercept.calls import MAX_ERROR_CHARS, Wrapper
from vaultak.intercept.hook import faults
from vaultak.intercept.sql_text import Statements, parse
from vaultak.intercept.trust import origins
from vaultak.policy.resources import ANY_TABLE
from vaultak.undo import UndoLog
from vaultak.undo.sql import Savepoints
from vaultak.wire import ActionType, OutcomeStatus

log = logging.getLogger("vaultak.intercept")

MAX_SQL_CHARS = 4096
_DEFAULT_SCHEMAS: Final = {"sqlite": ("main", "temp"), "postgresql": ("public",), "mysql": ()}
_ONE_CASE: Final = frozenset({"sqlite", "mysql"})
"""Where `"Users"` and `users` may be the same table: names are reported in lower case."""


class Execution(NamedTuple):
    """What a call will execute."""

    dialect: str
    database: str
    sql: str
    params: int = 0
    rows: int = 0
    """Rows of parameters of an `executemany`; 0 for anything else."""
    keep: Callable[[UndoLog, str, Statements], Callable[[], None] | None] | None = None
    """Called once a write is allowed, with the undo log, the action's id and what was read out of the text; what it
    returns is called when the statement is over."""
    files: tuple[str, ...] = ()
    """Absolute paths of files that it opens or makes by itself."""
    written: bool = False
    """True when the text alone does not say that the call writes."""


Describe = Callable[[Any, tuple[Any, ...], dict[str, Any]], Execution | None]
"""What a call (instance, positional, keyword arguments) will execute; `None` when it executes nothing."""
Counted = Callable[[Any, Any], int | None]
"""Rows reached, out of the call's instance and its result."""

_under_way: ContextVar[tuple[object, ...]] = ContextVar("vaultak_sql", default=())
"""Cursors and connections whose execution was judged: what their library calls further on them belongs to it."""


def under_way() -> tuple[object, ...]:
    """Cursors and connections whose execution was judged, in this context."""
    return _under_way.get()


def resources(dialect: str, database: str, tables: tuple[str, ...]) -> tuple[str, ...]:
    """`db://<dialect>/<database>/<table>` of every table, most dangerous statement first; `/*` when none is named."""
    found: list[str] = []
    for table in tables:
        schema, _, name = table.rpartition(".")
        if dialect in _ONE_CASE:
            schema, name = schema.lower(), name.lower()
        if dialect in _ONE_CASE and schema and schema not in _DEFAULT_SCHEMAS.get(dialect, ()):
            found.append(f"db://{dialect}/{schema}/{name}")
            continue
        found.append(f"db://{dialect}/{database}/{name}")
        if schema and schema not in _DEFAULT_SCHEMAS.get(dialect, ()):
            found.append(f"db://{dialect}/{database}/{schema}.{name}")
    return tuple(dict.fromkeys(found)) or (f"db://{dialect}/{database}/*",)


class _Judged:
    """An allowed execution, until its outcome."""

    __slots__ = ("_finish", "_governor", "_started_s", "action_id")

    def __init__(self, governor: Governor, action_id: str) -> None:
        self._governor, self.action_id = governor, action_id
        self._finish: Callable[[], None] | None = None
        self._started_s = time.perf_counter()

    def keep(self, execution: Execution, read: Statements) -> None:
        undo = self._governor.undo
        if undo is None or not (read.writes or execution.written):
            return
        if execution.keep is None:
            Savepoints.unsupported(
                undo,
                self.action_id,
                f"{read.operation or 'write'} in {execution.dialect}",
                "only a compensation could: nothing is kept of it",
            )
            return
        try:
            self._finish = execution.keep(undo, self.action_id, read)
        except Exception as e:  # noqa: BLE001 - the statement runs all the same: it cannot be taken back
            faults["journal:sql"] += 1
            log.warning("no way back for action %s: %s: %s", self.action_id, type(e).__name__, e)
            Savepoints.unsupported(undo, self.action_id, f"{read.operation} in {execution.dialect}", str(e))

    def done(self, rows: int | None) -> None:
        self._after(OutcomeStatus.OK, content="" if rows is None or rows < 0 else f"rows: {rows}")

    def failed(self, error: BaseException) -> None:
        if isinstance(error, ActionDeniedError | AgentKilledError):
            self._after(OutcomeStatus.DENIED, error=str(error)[:MAX_ERROR_CHARS])
        else:
            self._after(OutcomeStatus.ERROR, error=f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS])

    def _after(self, status: OutcomeStatus, *, content: str = "", error: str = "") -> None:
        if self._finish is not None:
            self._finish()
        duration_ms = (time.perf_counter() - self._started_s) * 1000
        self._governor.after(self.action_id, status, content=content, error=error, duration_ms=duration_ms)


class _Asked(NamedTuple):
    governor: Governor
    execution: Execution
    read: Statements

    def action(self) -> tuple[ActionType, str, dict[str, Any]]:
        execution, read = self.execution, self.read
        reached = resources(execution.dialect, execution.database, read.tables)
        payload = {
            "sql": execution.sql[:MAX_SQL_CHARS],
            "operation": read.operation,
            "operations": read.operations,
            "tables": read.tables,
            "params": execution.params,
            "predicate": read.predicate,
            "resources": [*reached, *execution.files, *([ANY_TABLE] if read.opaque else [])],
        }
        if execution.rows:
            payload["rows"] = execution.rows
        writes = read.writes or execution.written
        return ActionType.DATABASE_WRITE if writes else ActionType.DATABASE_QUERY, reached[0], payload

    def judge(self) -> _Judged:
        judged = _Judged(self.governor, self.governor.before(*self.action(), assurance="patch"))
        judged.keep(self.execution, self.read)
        return judged

    async def judge_async(self) -> _Judged:
        judged = _Judged(self.governor, await self.governor.before_async(*self.action(), assurance="patch"))
        judged.keep(self.execution, self.read)
        return judged


def _asked(
    name: str, describe: Describe, frame: FrameType, call: tuple[Any, tuple[Any, ...], dict[str, Any]]
) -> _Asked | None:
    governor = current()
    if governor is None or not governor.intercepted or origins.actor(frame)[1]:
        return None
    if any(held is call[0] for held in _under_way.get()):
        return None
    try:
        execution = describe(*call)
        return execution and _Asked(governor, execution, parse(execution.sql, execution.dialect))
    except Exception as e:  # noqa: BLE001 - what cannot be read is judged as an unknown write
        if not isinstance(e, TypeError | ValueError | IndexError | KeyError):  # arguments that the driver refuses
            faults[f"classify:{name}"] += 1
            log.warning("cannot read the SQL of `%s`: %s: %s", name, type(e).__name__, e)
        return _Asked(governor, Execution(name.partition(".")[0], "*", ""), parse("?", ""))


def _nothing_counted(_instance: Any, _result: Any) -> int | None:
    return None


def _count(counted: Counted, instance: Any, result: Any) -> int | None:
    try:
        rows = counted(instance, result)
        return rows if isinstance(rows, int) else None
    except Exception:  # noqa: BLE001 - a foreign cursor may be anything; the count is a courtesy
        faults["sql:rows"] += 1
        return None


def executes(name: str, describe: Describe, counted: Counted = _nothing_counted, *, outermost: bool = False) -> Wrapper:
    """A wrapt wrapper of a method that executes SQL. With `outermost`, it stands for its own instance's inner calls."""

    def execute(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if current() is None:
            return wrapped(*args, **kwargs)
        asked = _asked(name, describe, sys._getframe(1), (instance, args, kwargs))
        if asked is None:
            return wrapped(*args, **kwargs)
        judged = asked.judge()
        token = _under_way.set((*_under_way.get(), instance)) if outermost else None
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as e:
            judged.failed(e)
            raise
        finally:
            if token is not None:
                _under_way.reset(token)
        judged.done(_count(counted, instance, result))
        return result

    return execute


def executes_async(name: str, describe: Describe, counted: Counted = _nothing_counted) -> Wrapper:
    """As `executes`, outermost, for a coroutine function: a pause leaves the event loop free."""

    async def execute(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        asked = _asked(name, describe, sys._getframe(1), (instance, args, kwargs))
        if asked is None:
            return await wrapped(*args, **kwargs)
        judged = await asked.judge_async()
        token = _under_way.set((*_under_way.get(), instance))
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as e:
            judged.failed(e)
            raise
        finally:
            _under_way.reset(token)
        judged.done(_count(counted, instance, result))
        return result

    return execute


def _no_call(_instance: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    return None


origins.make_transparent(cast(FunctionType, executes("", _no_call)), cast(FunctionType, executes_async("", _no_call)))
