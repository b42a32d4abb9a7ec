"""Brings the schema up to date: numbered, checksummed SQL files, each applied once, in order."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vaultak_devstack.resources import infra_path
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.cluster import cluster_name, on_cluster
from vaultak_streams.store.errors import MigrationError, StoreUnavailableError

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+")
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)

LEDGER = """CREATE TABLE IF NOT EXISTS schema_migrations
(
    version    UInt32,
    name       String,
    sha256     FixedString(64),
    applied_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(applied_at) ORDER BY version"""
"""What has been applied, kept in the store itself."""


class Migration(NamedTuple):
    version: int
    name: str
    sha256: str
    statements: tuple[str, ...]


def available(directory: Path | None = None) -> list[Migration]:
    """The migrations that this version of the code has. Raises `MigrationError` for a gap or a wrong name."""
    found = [_read(path) for path in sorted((directory or infra_path("clickhouse/migrations")).glob("*.sql"))]
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError("the migrations are not numbered 0001, 0002, ... without a gap")
    return found


def _read(path: Path) -> Migration:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise MigrationError(f"migration `{path.name}` is not named NNNN_name.sql")
    text = path.read_text()
    statements = tuple(s.strip() for s in _COMMENT.sub("", text).split(";") if s.strip())
    return Migration(int(match[1]), path.stem, hashlib.sha256(text.encode()).hexdigest(), statements)


def migrate(dsn: str, directory: Path | None = None, *, wait_s: float = 0.0, cluster: str = "") -> list[str]:
    """Apply what is missing, on every server of `cluster` when one is named; returns the names applied.

    Every statement says IF NOT EXISTS by then, so that a migration cut short, or two at once, end in the same schema.
    Raises `MigrationError` when an applied migration has changed, the store is newer than this code, or was set up for
    one server and is now to be a cluster's or the other way round, `ConfigurationError` for a name that no cluster
    has; waits up to `wait_s` for a store that does not answer yet.
    """
    said = functools.partial(on_cluster, cluster=cluster_name(cluster)) if cluster else str
    deadline = time.monotonic() + wait_s
    while True:
        try:
            with connect(dsn) as store:
                check_replication(_ledger_engine(store), cluster)
                return _apply(store, available(directory), said)
        except StoreUnavailableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)


def check_replication(engine: str, cluster: str) -> None:
    """Raise `MigrationError` unless a ledger of this engine (empty: none yet) goes with a cluster of this name."""
    if not engine or engine.startswith("Replicated") == bool(cluster):
        return
    if cluster:
        raise MigrationError(
            f"the store was set up for one server, not for the cluster `{cluster}`; use a new database"
        )
    raise MigrationError("the store was set up for a cluster; name it: --cluster or VAULTAK_CLICKHOUSE_CLUSTER")


def _ledger_engine(store: Store) -> str:
    sql = "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'schema_migrations'"
    rows = store.query(sql).rows
    return str(rows[0][0]) if rows else ""


def _apply(store: Store, migrations: list[Migration], said: Callable[[str], str]) -> list[str]:
    store.command(said(LEDGER))
    applied = {
        int(version): (str(name), _text(sha256))
        for version, name, sha256 in store.query("SELECT version, name, sha256 FROM schema_migrations FINAL").rows
    }
    if newer := sorted(set(applied) - {migration.version for migration in migrations}):
        raise MigrationError(f"the store has migration {newer[-1]}, this version of Vaultak only {len(migrations)}")
    done = []
    for migration in migrations:
        if (known := applied.get(migration.version)) is not None:
            if known[1] != migration.sha256:
                raise MigrationError(
                    f"migration `{migration.name}` changed after it was applied; add a new one instead"
                )
            continue
        for statement in migration.statements:
            store.command(said(repeatable(statement)))
        now = dt.datetime.now(dt.UTC)
        row: list[list[object]] = [[migration.version], [migration.name], [migration.sha256], [now]]
        store.insert("schema_migrations", ("version", "name", "sha256", "applied_at"), row)
        done.append(migration.name)
    return done


def repeatable(statement: str) -> str:
    """The same statement, harmless when its object exists already."""
    return re.sub(r"^CREATE (TABLE|VIEW|MATERIALIZED VIEW) (?!IF )", r"CREATE \1 IF NOT EXISTS ", statement)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
