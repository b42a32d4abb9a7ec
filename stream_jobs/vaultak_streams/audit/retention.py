"""How long the trail is kept, and whose is kept for longer.

ClickHouse deletes rows by the tables' TTL, counted from when they were stored; agents on hold are taken out of it.
Commands, acks, incidents and roll-ups are small and kept for good.
"""

from __future__ import annotations

import datetime as dt
import re

import msgspec

from vaultak.errors import ConfigurationError
from vaultak_streams.audit.chains import LONG_AGO
from vaultak_streams.store.client import Result, Store

BOUNDARY_DAYS = 2
"""The TTL of events counts from the moment they were stored, that of the actions' rows from the day: between the two
one side of an action is gone already."""

MAX_DAYS = 36_500

_EXPIRY = {
    "events_log": "toDateTime(ingested_at)",
    "action_parts": "ingested_day",
    "dead_letters_log": "toDateTime(ingested_at)",
}
"""The tables that retention is for, and what it counts from."""

_WITHOUT_AGENT = ("dead_letters_log",)
"""Nobody knows whose these are: all of them are kept while anyone is on hold."""

_DAYS = re.compile(r"TTL .*?toIntervalDay\((\d+)\)")
_DURATION = re.compile(r"(\d{1,6})d?")


class Retention(msgspec.Struct, frozen=True):
    """`days` since it was stored that a row is kept (`None`: for good); the agents on hold are kept regardless."""

    days: int | None
    held: tuple[str, ...]


def parse_days(text: str) -> int | None:
    """`90d` or `90` as a number of days, `forever` as `None`. Raises `ConfigurationError`."""
    if text == "forever":
        return None
    match = _DURATION.fullmatch(text.strip())
    if match is None or not 1 <= int(match[1]) <= MAX_DAYS:
        raise ConfigurationError(f"`{text[:40]}` is no retention: give days from `1d` to `{MAX_DAYS}d`, or `forever`")
    return int(match[1])


def retention(store: Store) -> Retention:
    """As it stands."""
    return Retention(_days(store), _held(store))


def set_retention(store: Store, days: int | None) -> Retention:
    """Keep rows for so long from now on; what is older goes with the next merges. Needs the right to ALTER."""
    while True:
        held = _held(store)
        for table, stored_at in _EXPIRY.items():
            _expire(store, table, stored_at, days, held)
        # Somebody else may have put another agent on hold meanwhile, and been overruled by this.
        if _held(store) == held:
            return Retention(days, held)


def hold(store: Store, agent_id: str, *, reason: str, by: str) -> Retention:
    """Keep everything of this agent, stored before and from now on, until it is released."""
    return _change(store, agent_id, held=True, reason=reason, by=by)


def release(store: Store, agent_id: str, *, reason: str, by: str) -> Retention:
    """Lift the hold: what is past retention goes. Raises `ConfigurationError` when there is none."""
    if agent_id not in _held(store):
        raise ConfigurationError(f"`{agent_id[:64]}` is not on hold")
    return _change(store, agent_id, held=False, reason=reason, by=by)


def holds(store: Store) -> Result:
    """Who is on hold, since when, by whom, why."""
    return store.query("SELECT agent_id, changed_at, changed_by, reason FROM legal_holds ORDER BY agent_id")


def kept_since(store: Store, now: dt.datetime) -> dt.datetime:
    """From when on everything stored must still be there; `LONG_AGO` when nothing can have expired yet."""
    if (days := _days(store)) is None:
        return LONG_AGO
    cutoff = now - dt.timedelta(days=days - BOUNDARY_DAYS)
    oldest = store.query("SELECT min(applied_at) FROM schema_migrations").rows[0][0]
    return LONG_AGO if oldest >= cutoff else cutoff


def _change(store: Store, agent_id: str, *, held: bool, reason: str, by: str) -> Retention:
    if not 1 <= len(agent_id) <= 256:
        raise ConfigurationError("an agent's name has 1 to 256 characters")
    columns = ("agent_id", "held", "reason", "changed_by", "changed_at")
    store.insert("legal_holds_log", columns, [[agent_id], [held], [reason], [by], [dt.datetime.now(dt.UTC)]])
    return set_retention(store, _days(store))


def _expire(store: Store, table: str, stored_at: str, days: int | None, held: tuple[str, ...]) -> None:
    if days is None or (held and table in _WITHOUT_AGENT):
        if _has_ttl(store, table):
            store.command(f"ALTER TABLE {table} REMOVE TTL")
        return
    ttl = f"ALTER TABLE {table} MODIFY TTL {stored_at} + toIntervalDay({days:d})"
    if held:
        store.command(ttl + " DELETE WHERE NOT has({held:Array(String)}, agent_id)", {"held": list(held)})
    else:
        store.command(ttl)


def _days(store: Store) -> int | None:
    match = _DAYS.search(_engine(store, "events_log"))
    return int(match[1]) if match else None


def _has_ttl(store: Store, table: str) -> bool:
    return " TTL " in _engine(store, table)


def _engine(store: Store, table: str) -> str:
    sql = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
    rows = store.query(sql, {"table": table}).rows
    return str(rows[0][0]) if rows else ""


def _held(store: Store) -> tuple[str, ...]:
    return tuple(row[0] for row in store.query("SELECT agent_id FROM legal_holds ORDER BY agent_id").rows)
