"""Where a command finds the system: the environment first, else the stack that runs on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import msgspec

from vaultak.config import Settings
from vaultak.errors import ConfigurationError
from vaultak_devstack.lockfile import StackState
from vaultak_streams.store.client import Store, connect


def current_settings() -> Settings:
    """Settings from the environment; what it leaves open is filled in from the running local stack."""
    settings = Settings.from_env()
    stack = StackState.load(settings.data_dir)
    if stack is None:
        return settings
    changes: dict[str, str] = {}
    if not _named("VAULTAK_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"):
        changes["bootstrap_servers"] = stack.bootstrap_servers
    if not settings.clickhouse_dsn and stack.clickhouse_dsn:
        changes["clickhouse_dsn"] = stack.clickhouse_dsn
    return msgspec.structs.replace(settings, **changes)


def _named(*names: str) -> bool:
    return any(os.environ.get(name, "").strip() for name in names)


def store_dsn() -> str:
    """Where the audit store is. Raises `ConfigurationError` when nothing says so."""
    if not (dsn := current_settings().clickhouse_dsn):
        raise ConfigurationError(
            "VAULTAK_CLICKHOUSE_DSN: not set, and no local stack runs; set it or start one with `vaultak up`"
        )
    return dsn


@contextlib.contextmanager
def open_store() -> Iterator[Store]:
    """The audit store. Raises `ConfigurationError` when nothing says where it is."""
    with connect(store_dsn()) as store:
        yield store
