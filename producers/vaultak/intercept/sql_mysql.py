"""PyMySQL: each statement is judged as its text goes to the server, with its parameters already written into it."""

from __future__ import annotations

import sys
from typing import Any

from vaultak.intercept.patching import patch_method, when_imported
from vaultak.intercept.sql_execution import Execution, executes


def _query(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
    sql = args[0] if args else kwargs["sql"]
    text = sql if isinstance(sql, str) else bytes(sql).decode("utf-8", "replace")
    database = connection.db or "*"
    return Execution("mysql", database.decode() if isinstance(database, bytes) else database, text)


def _rows(_connection: Any, result: Any) -> Any:
    return result


def _patch() -> None:
    patch_method(sys.modules["pymysql.connections"].Connection, "query", executes("pymysql.query", _query, _rows))


def patch() -> None:
    when_imported("pymysql.connections", _patch)
