"""Rows of one batch, by their shapes, as columns: what ClickHouse takes fastest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from vaultak.wire.codec import MAX_EVENT_BYTES
from vaultak_streams.records import Record
from vaultak_streams.sink.rows import Arrival, Decoded, Rows, Shape, is_unusable, rows_of_event, undecodable

MAX_MESSAGE_BYTES = 4 * MAX_EVENT_BYTES
"""A dead letter quotes what was refused: it may be larger than an event."""


class Block(msgspec.Struct, frozen=True):
    """Rows that fill the same columns of a table."""

    table: str
    names: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def columns(self) -> list[Sequence[Any]]:
        """One sequence for each name."""
        return list(zip(*self.rows, strict=True))

    def select(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Some members, two or more, of each row."""
        return map(itemgetter(*map(self.names.index, names)), self.rows)

    def halves(self) -> tuple[Block, Block]:
        middle = len(self.rows) // 2
        return Block(self.table, self.names, self.rows[:middle]), Block(self.table, self.names, self.rows[middle:])


class Batch:
    """Collects rows; `blocks()` gives them. Deterministic: the same records, the same batch."""

    def __init__(self, routes: Mapping[str, Decoded | None], now: dt.datetime) -> None:
        self._routes = routes
        self._now = Arrival.of(now)
        self._rows: dict[Shape, list[tuple[Any, ...]]] = {}
        self._decoders: dict[type, msgspec.json.Decoder[Any]] = {}
        self.records = 0
        self.undecodable = 0

    def add(self, records: Iterable[Record]) -> None:
        found = self._rows
        for record in records:
            self.records += 1
            for shape, row in self._rows_of(record):
                rows = found.get(shape)
                if rows is None:
                    found[shape] = [row]
                else:
                    rows.append(row)

    def _rows_of(self, record: Record) -> Rows:
        route = self._routes[record.topic]
        if route is None:
            rows = rows_of_event(record, self._now)
            self.undecodable += is_unusable(rows)
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

    def blocks(self, table: str = "") -> list[Block]:
        """All of them, or those of one table, in the order in which their first rows came."""
        return [
            Block(shape.table, shape.columns, rows)
            for shape, rows in self._rows.items()
            if shape.table == table or not table
        ]
