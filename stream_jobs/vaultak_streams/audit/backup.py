"""The store put away and brought back, by ClickHouse's own BACKUP and RESTORE onto a disk that the server knows.

The embedded server has one, `backups`, under its data directory. Anchors and keys are files of the sink's: copy them
too.
"""

from __future__ import annotations

import re

import msgspec

from vaultak.errors import ConfigurationError
from vaultak_streams.store.client import Store
from vaultak_streams.store.errors import StoreError

DISK = "backups"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LEDGER = "schema_migrations"


class Backup(msgspec.Struct, frozen=True):
    """What was put away or brought back. `rows`: of all tables, as they are stored (a roll-up's too). `files`, `bytes`:
    what it holds itself, without its base."""

    name: str
    disk: str
    rows: int
    files: int
    bytes: int


class NotEmptyError(StoreError):
    """A store that has rows is not restored into."""


def back_up(store: Store, name: str, *, disk: str = DISK, base: str = "") -> Backup:
    """Put the whole database away under `name`; with `base`, only what that backup lacks. Consistent per table.

    Raises `ConfigurationError` for a name, `StoreError` for what the server says.
    """
    settings = f" SETTINGS base_backup = {_place(disk, base)}" if base else ""
    store.command(f"BACKUP DATABASE {_quoted(store.database)} TO {_place(disk, name)}{settings}")
    return _summary(store, name, disk)


def restore(store: Store, name: str, *, disk: str = DISK, source: str = "") -> Backup:
    """Bring a backup of database `source` (the same name by default) back into this store, which must have no rows."""
    if filled := [table for table, rows in _rows(store).items() if rows and table != _LEDGER]:
        raise NotEmptyError(f"`{store.database}` has rows in {', '.join(filled[:3])}; restore into an empty database")
    from_name, to_name = _quoted(source or store.database), _quoted(store.database)
    store.command(
        f"RESTORE DATABASE {from_name} AS {to_name} FROM {_place(disk, name)}"
        " SETTINGS allow_non_empty_tables = 1, allow_different_table_def = 1"  # the ledger of migrations; a TTL
    )
    return _summary(store, name, disk)


def _summary(store: Store, name: str, disk: str) -> Backup:
    known = store.query(
        "SELECT num_entries, compressed_size FROM system.backups WHERE name = {name:String}"
        " ORDER BY start_time DESC LIMIT 1",
        {"name": _place(disk, name)},
    ).rows
    files, size = known[0] if known else (0, 0)
    return Backup(name, disk, sum(_rows(store).values()), int(files), int(size))


def _rows(store: Store) -> dict[str, int]:
    sql = "SELECT name, total_rows FROM system.tables WHERE database = {db:String} AND total_rows >= 0 ORDER BY name"
    return {str(table): int(rows) for table, rows in store.query(sql, {"db": store.database}).rows}


def _place(disk: str, name: str) -> str:
    for what in (disk, name):
        if not _NAME.fullmatch(what):
            raise ConfigurationError(f"`{what[:64]}` is no name for a backup (letters, digits, `.`, `_`, `-`)")
    return f"Disk('{disk}', '{name}')"


def _quoted(database: str) -> str:
    if "`" in database or "\\" in database:
        raise ConfigurationError(f"`{database[:64]}` is no name of a database")
    return f"`{database}`"
