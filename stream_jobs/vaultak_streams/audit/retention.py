"""How long the trail is kept, and whose is kept for longer.

ClickHouse deletes rows by the tables' TTL, counted from when they were stored; agents on hold are taken out of it.
"""

from __future__ import annotations

import datetime as dt
import re

from vaultak_streams.audit.chains import LONG_AGO
from vaultak_streams.store.client import Store

BOUNDARY_DAYS = 2
"""The TTL of events counts from the moment they were stored, that of the actions' rows from the day: between the two
one side of an action is gone already."""

_DAYS = re.compile(r"TTL .*?toIntervalDay\((\d+)\)")


def retention_days(store: Store) -> int | None:
    """For how many days events are kept; `None`: for good."""
    sql = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'events_log'"
    rows = store.query(sql).rows
    match = _DAYS.search(str(rows[0][0])) if rows else None
    return int(match[1]) if match else None


def kept_since(store: Store, now: dt.datetime) -> dt.datetime:
    """From when on everything stored must still be there; `LONG_AGO` when nothing can have expired yet."""
    days = retention_days(store)
    if days is None:
        return LONG_AGO
    cutoff = now - dt.timedelta(days=days - BOUNDARY_DAYS)
    oldest = store.query("SELECT min(applied_at) FROM schema_migrations").rows[0][0]
    return LONG_AGO if oldest >= cutoff else cutoff
