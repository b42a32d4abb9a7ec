"""An operator's orders to an agent behind the proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdk.operator_side import Operator, read_events, until
from vaultak.config import Settings
from vaultak.wire import AckResult, Action, Outcome, OutcomeStatus

pytestmark = pytest.mark.stack


def test_it_waits_while_paused_goes_on_and_ends_with_a_kill(
    start: Callable[..., Any], operated: tuple[Settings, Operator], tmp_path: Path
) -> None:
    where, operator = operated

    def order(command: str) -> None:
        signed = asyncio.run(operator.order("notes", command))
        assert asyncio.run(operator.acks(signed.command_id))[signed.command_id].result is AckResult.APPLIED

    env = {"VAULTAK_BOOTSTRAP_SERVERS": where.bootstrap_servers, "VAULTAK_TOPIC_PREFIX": where.topics.prefix}
    with start("--agent-id", "notes", **env) as client:
        assert client.call("note", "a")["content"][0]["text"] == "done note"
        order("pause")
        held = client.send("tools/call", name="note", arguments={"text": "b"})
        assert client.ask("ping")["result"] == {}  # others pass meanwhile
        assert client.did == ["note a"]
        order("resume")
        assert client.heard()["id"] == held
        assert client.did == ["note a", "note b"]
        asyncio.run(operator.order("notes", "kill"))
        assert client.process.wait(20) != 0
    events: list[Any] = []

    def recorded() -> bool:
        events[:] = asyncio.run(read_events(where.bootstrap_servers, where.topics))
        return len(events) >= 4

    until(recorded)
    assert [e.resource for e in events if isinstance(e, Action)] == ["tool:note", "tool:note"]
    assert {e.status for e in events if isinstance(e, Outcome)} == {OutcomeStatus.OK}
