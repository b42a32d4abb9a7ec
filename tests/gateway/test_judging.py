"""What an agent in any language gets over HTTP: an answer before it acts, and a record that is the SDK's own."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from gateway.serving import Served, action, until
from sdk.operator_side import read_events
from vaultak.config import Settings
from vaultak.wire import (
    GENESIS_HASH,
    Action,
    Decision,
    Factors,
    Outcome,
    Verdict,
    chain_hash,
    encode,
    format_ts,
)
from vaultak_devstack.keys import policy_signer
from vaultak_streams.policy import bundle_from
from vaultak_streams.policy.push import push

pytestmark = pytest.mark.stack


def publish_verdict(where: Settings, action_id: str, decision: str, agent_id: str = "web") -> None:
    """As the pipeline does."""
    now = format_ts(time.time())
    verdict = Verdict(
        action_id=action_id,
        agent_id=agent_id,
        session_id="s1",
        ts=now,
        scored_ts=now,
        risk=0.93,
        factors=Factors(behaviour=0.93),
        decision=Decision(decision),
        reasons=("never seen before",),
    )

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=where.bootstrap_servers)
        await producer.start()
        try:
            await producer.send_and_wait(where.topics.verdicts, encode(verdict), key=agent_id.encode())
        finally:
            await producer.stop()

    asyncio.run(send())


def test_an_action_is_answered_at_once_by_limits_and_rules(served: Served) -> None:
    client = served.client("web")
    allowed = client.post("/v1/actions", json=action())
    assert (allowed.status_code, allowed.json()["decision"], allowed.json()["judged_by"]) == (200, "allow", "gateway")
    blocked = client.post("/v1/actions", json=action(resource="/srv/.env")).json()
    assert blocked["decision"] == "block"
    assert "blocked_resources" in blocked["rules"]


async def test_what_is_recorded_is_chained_redacted_and_traced_as_the_sdk_does_it(
    served: Served, where: Settings
) -> None:
    client = served.client("web")
    span = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    sent = [
        action(payload={"password": "hunter2hunter2"}, labels={"role": "clerk"}, action_id="mine-1", **span),
        {"kind": "context", "agent_id": "web", "source": "user", "content": "read the report"},
        {
            "kind": "outcome",
            "agent_id": "web",
            "session_id": "s1",
            "action_id": "mine-1",
            "status": "ok",
            "duration_ms": 3,
        },
    ]
    answer = await asyncio.to_thread(client.post, "/v1/actions", json=sent)
    assert [one["decision"] for one in answer.json()["results"]] == ["allow", "allow", "allow"]
    assert await asyncio.to_thread(served.gateway.publisher.flush, 10)
    events = await read_events(where.bootstrap_servers, where.topics)
    assert [event.seq for event in events] == [0, 1, 2]
    assert [event.prev_hash for event in events] == [GENESIS_HASH, *(event.hash for event in events[:-1])]
    assert all(event.hash == chain_hash(event) for event in events)
    first, _, outcome = events
    assert isinstance(first, Action)
    assert isinstance(outcome, Outcome)
    assert (first.action_id, outcome.action_id, first.labels) == ("mine-1", "mine-1", {"role": "clerk"})
    assert (first.trace_id, first.span_id) == (span["trace_id"], span["span_id"])
    assert "hunter2" not in str(first.payload)


def test_a_request_that_is_repeated_records_nothing_twice(served: Served) -> None:
    client, sent = served.client("web"), action(action_id="again")
    first, second = (client.post("/v1/actions", json=sent).json() for _ in range(2))
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert served.gateway.intake.counts.actions == 1


def test_who_waits_gets_the_verdict_of_the_pipeline(served: Served, where: Settings) -> None:
    client = served.client("web")
    client.post("/v1/actions", json=action(action_id="judged"))
    publish_verdict(where, "judged", "block")
    answer = client.get("/v1/agents/web/actions/judged", params={"wait": 15}).json()
    assert (answer["decision"], answer["judged_by"]) == ("block", "pipeline")
    assert answer["reasons"] == ["never seen before"]
    assert answer["verdict"]["factors"]["behaviour"] == 0.93
    # A verdict of somebody else's action with the same id is not this one's.
    publish_verdict(where, "judged", "kill", agent_id="other")
    assert client.get("/v1/agents/web/actions/judged").json()["decision"] == "block"


def test_who_does_not_get_one_in_time_gets_what_is_known(served: Served) -> None:
    started = time.monotonic()
    answer = served.client("web").post("/v1/actions", params={"wait": 0.3}, json=action()).json()
    assert (answer["decision"], answer["judged_by"], "verdict" in answer) == ("allow", "gateway", False)
    assert 0.25 < time.monotonic() - started < 5


async def test_a_paused_agent_waits_and_goes_on_when_it_is_resumed(served: Served, operator: Any) -> None:
    client = served.client("web")
    await asyncio.to_thread(client.post, "/v1/actions", json=action())
    pause = await operator.order("web", "pause", reason="looks odd")
    assert (await operator.acks(pause.command_id))[pause.command_id].result == "applied"
    held = (await asyncio.to_thread(client.post, "/v1/actions", json=action(action_id="held"))).json()
    assert held["decision"] == "pause"
    assert "looks odd" in held["reasons"][0]
    waiting = asyncio.create_task(asyncio.to_thread(client.get, "/v1/agents/web/actions/held", params={"wait": 20}))
    await asyncio.to_thread(until, lambda: served.gateway.intake.waiting == 1)
    await operator.order("web", "resume")
    answer = (await waiting).json()
    assert (answer["decision"], answer["judged_by"]) == ("allow", "operator")


async def test_a_killed_agent_may_do_nothing_more(served: Served, operator: Any) -> None:
    client = served.client("web")
    await asyncio.to_thread(client.post, "/v1/actions", json=action())
    kill = await operator.order("web", "kill")
    await operator.acks(kill.command_id)
    assert (await asyncio.to_thread(client.post, "/v1/actions", json=action())).json()["decision"] == "kill"


async def test_what_the_pipeline_holds_an_operator_can_deny(served: Served, where: Settings, operator: Any) -> None:
    client = served.client("web")
    await asyncio.to_thread(client.post, "/v1/actions", json=action(action_id="asked"))
    await asyncio.to_thread(publish_verdict, where, "asked", "pause")
    member = await asyncio.wrap_future(
        asyncio.run_coroutine_threadsafe(served.gateway.members.get("web"), served.gateway._loop)  # type: ignore[arg-type]
    )
    await asyncio.to_thread(until, lambda: member.busy)
    deny = await operator.order("web", "deny", action_id="asked")
    assert (await operator.acks(deny.command_id))[deny.command_id].result == "applied"
    answer = (await asyncio.to_thread(client.get, "/v1/agents/web/actions/asked", params={"wait": 20})).json()
    assert (answer["decision"], answer["judged_by"]) == ("block", "operator")


def test_a_policy_that_is_pushed_reaches_agents_with_its_labels(served: Served, where: Settings) -> None:
    rule = """
title: No targets
id: no-targets
detection:
  selection: {resource: target}
  condition: selection
enforce: block
"""
    client = served.client("web", "other")

    def decision(agent_id: str, ring: str) -> str:
        sent = action(agent_id, resource="target", labels={"ring": ring})
        return str(client.post("/v1/actions", json=sent).json()["decision"])

    assert (decision("web", "0"), decision("other", "1")) == ("allow", "allow")
    rules = bundle_from([("r.yaml", rule)])
    asyncio.run(push(where, policy_signer(where.data_dir), rules, canary={"ring": "0"}, wait_s=0.1))
    until(lambda: decision("web", "0") == "block")
    assert decision("other", "1") == "allow"
    assert decision("other", "0") == "block"
