"""Rows of one batch, by table, as columns: what ClickHouse takes fastest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from vaultak.wire.codec import MAX_EVENT_BYTES
from vaultak_streams.records import Record
from vaultak_streams.sink.rows import Decoded, Row, rows_of_event, undecodable

MAX_MESSAGE_BYTES = 4 * MAX_EVENT_BYTES
"""A dead letter quotes what was refused: it may be larger than an event."""


class Batch:
    """Collects rows; `tables()` gives them table by table. Deterministic: the same records, the same batch."""

    def __init__(self, routes: Mapping[str, Decoded | None], now: dt.datetime) -> None:
        self._routes = routes
        self._now = now
        self._rows: dict[str, list[Row]] = {}
        self._decoders: dict[type, msgspec.json.Decoder[Any]] = {}
        self.records = 0
        self.undecodable = 0

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self.records += 1
            for table, row in self._rows_of(record):
                self._rows.setdefault(table, []).append(row)

    def _rows_of(self, record: Record) -> Iterable[tuple[str, Row]]:
        route = self._routes[record.topic]
        if route is None:
            rows = rows_of_event(record, self._now)
            self.undecodable += rows[0][1]["kind"] == "undecodable"
            return rows
        if record.value is None:  # a tombstone on a compacted topic
            return ()
        kind, make = route
        try:
            return make(record, self._decode(kind, record.value), self._now)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as e:
            self.undecodable += 1
            return undecodable(record, str(e), self._now)

    def _decode(self, kind: type[msgspec.Struct], value: bytes) -> Any:
        if len(value) > MAX_MESSAGE_BYTES:
            raise ValueError(f"{len(value)} bytes; at most {MAX_MESSAGE_BYTES} are accepted")
        decoder = self._decoders.get(kind) or self._decoders.setdefault(kind, msgspec.json.Decoder(kind))
        return decoder.decode(value)

    def tables(self) -> dict[str, list[Row]]:
        return self._rows


def alike(rows: list[Row]) -> list[list[Row]]:
    """Rows that fill as many columns, together: an action's, an outcome's and a verdict's are inserted apart."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(len(row), []).append(row)
    return list(found.values())


def columns_of(rows: list[Row]) -> tuple[list[str], list[Sequence[Any]]]:
    """Column names and one sequence per column; a member that a row lacks is null."""
    names = list(rows[0])
    if all(list(row) == names for row in rows):
        return names, list(zip(*[row.values() for row in rows], strict=True))
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[row.get(name) for row in rows] for name in names]
