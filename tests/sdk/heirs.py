"""What processes that are over have left in their spools: the audit, before it is delivered."""

from __future__ import annotations

from pathlib import Path

from vaultak.publish.frames import Message
from vaultak.publish.spool import orphans
from vaultak.wire import Action, Event, Outcome, decode_event


def left_behind(data_dir: Path) -> list[Event]:
    """Every event in the spools of processes that have ended."""
    events = []
    for spool in orphans(data_dir / "spool", None):
        messages, _ = spool.peek(100_000)
        events += [decode_event(message.value)[0] for message in messages if isinstance(message, Message)]
        spool.abandon()
    return events


def denied(events: list[Event]) -> set[str]:
    """Resources whose action was denied."""
    refused = {event.action_id for event in events if isinstance(event, Outcome) and event.status == "denied"}
    return {event.resource for event in events if isinstance(event, Action) and event.action_id in refused}
