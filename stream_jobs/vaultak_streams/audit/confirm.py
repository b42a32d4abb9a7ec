"""What the server flagged, looked at again event by event: the server compares text, this decodes it.

A producer in another language may order or space its JSON otherwise, and a payload may hold members named like those
of the chain: either is flagged, neither is a finding.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from vaultak.wire import parse_ts_us
from vaultak.wire.canonical import GENESIS_HASH, chain_hash
from vaultak_streams.audit import chains
from vaultak_streams.audit.chains import Chain, Flagged
from vaultak_streams.audit.findings import Finding, What
from vaultak_streams.sink.rows import moment
from vaultak_streams.store.client import Store

_FETCHED = 500

_MESSAGES = """
SELECT event_id, session_id, action_id, kind, ts, value
FROM events_log
WHERE agent_id = {agent:String} AND event_id IN {ids:Array(UInt128)}
"""

_FILED = ("agent_id", "instance", "session_id", "action_id", "kind", "seq", "ts")
"""Members of a message that have a column."""


class Stored(NamedTuple):
    """A row of `events_log`."""

    session_id: str
    action_id: str
    kind: str
    ts: dt.datetime
    value: str


def confirmed(store: Store, chain: Chain) -> Iterator[Finding]:
    """The findings among the events of this chain that are flagged, in order."""
    for start in range(0, len(chain.flagged), _FETCHED):
        flagged = chain.flagged[start : start + _FETCHED]
        rows = _messages(store, chain.agent_id, flagged)
        for one in flagged:
            yield from _findings(chain, one, rows.get(one.event_id))


def _messages(store: Store, agent_id: str, flagged: Sequence[Flagged]) -> dict[int, Stored]:
    ids = [one.event_id for one in flagged]
    rows = store.query(_MESSAGES, {"agent": agent_id, "ids": ids}).rows
    return {int(row[0]): Stored(*row[1:]) for row in rows}


def _findings(chain: Chain, one: Flagged, row: Stored | None) -> Iterator[Finding]:
    if row is None:  # merged away, or deleted, since it was flagged
        return
    columns = {
        "agent_id": chain.agent_id,
        "instance": chain.instance,
        "session_id": row.session_id,
        "action_id": row.action_id,
        "kind": row.kind,
        "seq": one.seq,
        "ts": row.ts,
    }
    for what, detail in _wrong(one, columns, _decoded(row.value)):
        yield Finding(what, chain.agent_id, row.session_id, chain.instance, one.seq, row.action_id, detail)


def _wrong(one: Flagged, columns: dict[str, Any], message: dict[str, Any]) -> Iterator[tuple[What, str]]:
    if one.flags & chains.ALTERED and message.get("hash") != (digest := chain_hash(message)):
        yield What.ALTERED, f"carries {_short(message.get('hash'))}, hashes to {digest[:12]}"
    if one.flags & chains.MISFILED and (names := _misfiled(columns, message)):
        yield What.MISFILED, f"differs in {', '.join(names)}"
    if one.flags & chains.GAP:
        yield What.GAP, f"{one.seq - one.expected} missing: {one.expected} to {one.seq - 1}"
    if one.flags & chains.DOUBLE:
        yield What.DOUBLE, ""
    if one.flags & chains.BROKEN and not _starts_with(message.get("prev_hash"), one.head_before):
        yield What.BROKEN_LINK, f"names {_short(message.get('prev_hash'))} as the one before it"
    if one.flags & chains.FALSE_START and message.get("prev_hash") != GENESIS_HASH:
        yield What.BROKEN_LINK, "the first event names another before it"


def _misfiled(columns: dict[str, Any], message: dict[str, Any]) -> list[str]:
    told = {"instance": "", "action_id": "", **message, "ts": _time(message)}
    return [name for name in _FILED if told.get(name) != columns[name]]


def _time(message: dict[str, Any]) -> dt.datetime | None:
    try:
        return moment(parse_ts_us(message["ts"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _starts_with(digest: object, head: int) -> bool:
    return isinstance(digest, str) and digest[:32] == head.to_bytes(16, "little").hex()


def _short(digest: object) -> str:
    return repr(digest)[1:13] if isinstance(digest, str) else "no hash"


def _decoded(value: str) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
