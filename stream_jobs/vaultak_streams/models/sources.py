"""What models are trained on: recorded events, or those in the store; each with its time, agent by agent in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from vaultak.wire import DecodeError, Event, decode_event
from vaultak_models.training import Gathering
from vaultak_streams.recordings import read_lines
from vaultak_streams.store.client import Store
from vaultak_streams.store.queries import FAR_AHEAD, LONG_AGO, moment

Timed = tuple[Event, int]

BATCH: Final = 1000
PAGE: Final = 20_000
_FAR_US: Final = 4_000_000_000_000_000


def from_files(gathering: Gathering, files: Iterable[Path]) -> Counter[str]:
    """Feed recordings, one after the other. `unreadable`: lines that are no events. Raises `RecordingError`."""
    counted: Counter[str] = Counter()
    for path in files:
        _feed(gathering, _decoded(read_lines(path), counted))
    return counted


def from_store(gathering: Gathering, store: Store, since: str | None) -> Counter[str]:
    """Feed what is stored since then (`14d`, a time; default: all).

    What the pipeline stopped, and nobody approved, is marked as bad. Raises `ConfigurationError` for a bad time, and
    what the store raises.
    """
    counted: Counter[str] = Counter()
    window = {"since": moment("--since", since) or LONG_AGO, "until": FAR_AHEAD}
    for agent_id, session_id, ts_us in store.query(_STOPPED, window).rows:
        gathering.mark_bad(agent_id, session_id, ts_us)
    for (agent_id,) in store.query(_AGENTS, window).rows:
        _feed(gathering, _decoded(_values(store, {**window, "agent": agent_id}), counted))
    return counted


def stored_values(store: Store, since: str | None) -> Iterator[bytes]:
    """The events that are stored since then, agent by agent, each agent's in order. Raises as `from_store`."""
    window = {"since": moment("--since", since) or LONG_AGO, "until": FAR_AHEAD}
    for (agent_id,) in store.query(_AGENTS, window).rows:
        yield from _values(store, {**window, "agent": agent_id})


_STOPPED: Final = """
SELECT agent_id, session_id, toUnixTimestamp64Micro(ts) FROM actions
WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts <= {until:DateTime64(6, 'UTC')}
  AND decision IN ('pause', 'block', 'rollback', 'kill')
  AND (agent_id, action_id) NOT IN
      (SELECT agent_id, action_id FROM commands WHERE command = 'approve' AND action_id != '')
"""
_AGENTS: Final = """
SELECT DISTINCT agent_id FROM events_log
WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts <= {until:DateTime64(6, 'UTC')}
  AND kind NOT IN ('undecodable', 'unauthenticated')
ORDER BY agent_id
"""
_EVENTS: Final = """
SELECT value, ts, event_id FROM events
WHERE agent_id = {agent:String} AND kind NOT IN ('undecodable', 'unauthenticated')
  AND ts <= {until:DateTime64(6, 'UTC')} AND (ts, event_id) > ({since:DateTime64(6, 'UTC')}, {after:UInt128})
ORDER BY ts, event_id LIMIT {page:UInt32}
"""


def _values(store: Store, window: dict[str, object]) -> Iterator[bytes]:
    """An agent's events in the order of their time."""
    at = {**window, "after": 0, "page": PAGE}
    while rows := store.query(_EVENTS, at).rows:
        for value, _, _ in rows:
            yield value.encode()
        at |= {"since": rows[-1][1], "after": rows[-1][2]}


def _decoded(values: Iterable[bytes], counted: Counter[str]) -> Iterator[Timed]:
    for value in values:
        try:
            yield decode_event(value, now_us=_FAR_US)
        except DecodeError:
            counted["unreadable"] += 1


def _feed(gathering: Gathering, events: Iterator[Timed]) -> None:
    while batch := list(islice(events, BATCH)):
        gathering.feed(batch)
