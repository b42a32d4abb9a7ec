"""Databases that open their files in C: the file is judged when the connection is made, the SQL elsewhere."""

from __future__ import annotations

from vaultak.intercept import paths, sql_mysql, sql_postgresql
from vaultak.intercept.calls import observe
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.held import keep_content
from vaultak.intercept.patching import patch_function, when_imported
from vaultak.wire import ActionType


def _sqlite(o: Occurrence) -> Effects:
    from vaultak.intercept.sql_files import file_of  # loads sqlite3, which is loaded by now

    path = file_of(paths.text(o.args[0]))
    return (
        (Effect(ActionType.FILE_WRITE, paths.printable(path), {"op": o.event}, keep_content(path)),) if path else NONE
    )


def _extension(o: Occurrence) -> Effects:
    file = paths.text(o.args[1])
    return (
        Effect(ActionType.CODE_EXECUTION, f"native:{paths.printable(paths.resolve(file) or file)}", {"op": o.event}),
    )


CLASSIFIERS: dict[str, Classifier] = {"sqlite3.connect": _sqlite, "sqlite3.load_extension": _extension}


def patch() -> None:
    modules = ("sqlite3", "sqlite3.dbapi2", "_sqlite3")

    def sqlite() -> None:
        from vaultak.intercept import sql_sqlite

        sql_sqlite.patch()
        patch_function(modules, "connect", sql_sqlite.connect)
        patch_function(modules, "connect", observe("sqlite3.connect"))

    when_imported("sqlite3", sqlite)
    sql_postgresql.patch()
    sql_mysql.patch()
