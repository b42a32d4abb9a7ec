"""Clients that obey: by asking with patience, or by a stream; and say what they did."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from gateway.serving import Served, action, until

pytestmark = pytest.mark.stack


async def test_who_waits_for_a_command_gets_it_when_it_comes_and_once(served: Served, operator: Any) -> None:
    client = served.client("web")
    start = (await asyncio.to_thread(client.get, "/v1/agents/web/commands")).json()
    assert (start["state"], start["commands"]) == ("running", [])
    waiting = asyncio.create_task(
        asyncio.to_thread(client.get, "/v1/agents/web/commands", params={"after": start["cursor"], "wait": 20})
    )
    await asyncio.to_thread(until, lambda: served.gateway.intake.waiting == 1)
    ordered = await operator.order("web", "rollback", reason="take it back")
    answer = (await waiting).json()
    assert [seen["command"]["command_id"] for seen in answer["commands"]] == [ordered.command_id]
    again = await asyncio.to_thread(client.get, "/v1/agents/web/commands", params={"after": answer["cursor"]})
    assert again.json()["commands"] == []
    # The gateway cannot undo what it has not done: the client does, and says so.
    sent = {"command_id": ordered.command_id, "result": "applied", "detail": "2 reversed", "instance": "node-1"}
    assert (await asyncio.to_thread(client.post, "/v1/agents/web/acks", json=sent)).status_code == 204
    from sdk.operator_side import read_all
    from vaultak.wire import decode_ack

    assert await asyncio.to_thread(served.gateway.publisher.flush, 10)
    acks = [decode_ack(v) for v in await read_all(operator.servers, operator.topics.acks)]
    assert {(ack.instance == "node-1", str(ack.result)) for ack in acks} == {(False, "ignored"), (True, "applied")}


async def test_a_stream_tells_the_state_and_each_command(served: Served, operator: Any) -> None:
    client, lines = served.client("web"), []
    client.post("/v1/actions", json=action())

    def follow() -> None:
        with client.stream("GET", "/v1/agents/web/commands", headers={"Accept": "text/event-stream"}) as stream:
            for line in stream.iter_lines():
                lines.append(line)
                if "kill" in line:
                    return

    thread = threading.Thread(target=follow)
    thread.start()
    await asyncio.to_thread(until, lambda: "event: state" in lines)
    await operator.order("web", "pause")
    await operator.order("web", "kill")
    await asyncio.to_thread(thread.join, 20)
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert data[0] == {"state": "running"}
    assert [one["command"] for one in data[1:]] == ["pause", "kill"]
    cursors = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]
    assert cursors == sorted(cursors)


async def test_a_forged_command_reaches_nobody(served: Served, operator: Any) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    client = served.client("web")
    start = (await asyncio.to_thread(client.get, "/v1/agents/web/commands")).json()
    genuine, operator.key = operator.key, Ed25519PrivateKey.generate()
    forged = await operator.order("web", "kill")
    assert (await operator.acks(forged.command_id))[forged.command_id].result == "rejected"
    operator.key = genuine
    told = (await asyncio.to_thread(client.get, "/v1/agents/web/commands", params={"after": start["cursor"]})).json()
    assert (told["state"], told["commands"]) == ("running", [])
