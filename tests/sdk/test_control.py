"""Commands over a real broker: signed ones are obeyed and acknowledged, others are refused and say why."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sdk.operator_side import Operator, settings, until
from vaultak import ActionType, AgentKilledError, Decision, Monitor, Vaultak
from vaultak.control import sign
from vaultak.wire import AgentState, Topics, format_ts
from vaultak_devstack.broker import Broker
from vaultak_devstack.broker_embedded import EmbeddedBroker
from vaultak_devstack.ports import free_port
from vaultak_devstack.topics import ensure_topics

pytestmark = pytest.mark.stack


@pytest.fixture
def operator(broker: Broker, topics: Topics, tmp_path: Path) -> Operator:
    return Operator(tmp_path, broker.bootstrap_servers, topics)


@pytest.fixture
def vt(broker: Broker, topics: Topics, tmp_path: Path, operator: Operator) -> Iterator[Vaultak]:
    with Vaultak(
        settings=settings(tmp_path, broker.bootstrap_servers, topics), rollback_limit=0, state_timeout_s=10
    ) as client:
        yield client


def explicit(vt: Vaultak, agent_id: str) -> Monitor:
    return vt.monitor(agent_id, intercept=False)


async def test_pause_resume_and_kill_are_applied_in_order_and_acknowledged(vt: Vaultak, operator: Operator) -> None:
    m = explicit(vt, "a")
    pause = await operator.order("a", "pause", reason="look into it")
    await asyncio.to_thread(until, lambda: m.state is AgentState.PAUSED)
    assert "look into it" in m.check("file_read", "/tmp/x").reasons[0]
    resume = await operator.order("a", "resume")
    await asyncio.to_thread(until, lambda: m.state is AgentState.RUNNING)
    kill = await operator.order("a", "kill")
    await asyncio.to_thread(until, lambda: m.state is AgentState.KILLED)
    acks = await operator.acks(pause.command_id, resume.command_id, kill.command_id)
    assert [acks[c.command_id].detail for c in (pause, resume, kill)] == ["paused", "running", "killed"]
    assert {a.result.value for a in acks.values()} == {"applied"}
    with pytest.raises(AgentKilledError):
        m.before(ActionType.FILE_READ, "/tmp/x", {})


async def test_a_kill_takes_effect_within_a_fraction_of_a_second(vt: Vaultak, operator: Operator) -> None:
    m = explicit(vt, "a")
    await operator.order("a", "pause")
    start = time.perf_counter()
    await operator.order("a", "kill")
    await asyncio.to_thread(until, lambda: m.state is AgentState.KILLED)
    assert time.perf_counter() - start < 0.9


async def test_what_is_not_genuine_is_rejected_and_says_why(vt: Vaultak, operator: Operator) -> None:
    m = explicit(vt, "a")
    good = operator.command("a", "kill")
    now = time.time()
    bad = {
        "not signed": msgspec.structs.replace(good, command_id="1", signature="", key_id=""),
        "not trusted": sign(
            msgspec.structs.replace(good, command_id="2", signature="", key_id=""), Ed25519PrivateKey.generate()
        ),
        "expired": operator.command(
            "a", "kill", command_id="3", ts=format_ts(now - 100), expires_at=format_ts(now - 50)
        ),
        "does not fit": msgspec.structs.replace(good, command_id="4"),
        "the signature": msgspec.structs.replace(good, command_id="5", signature="zz"),
    }
    await operator.send(*bad.values())
    acks = await operator.acks(*(c.command_id for c in bad.values()))
    for why, command in bad.items():
        ack = acks[command.command_id]
        assert ack.result.value == "rejected", ack
        assert why in ack.detail
    assert m.state is AgentState.RUNNING


async def test_an_older_epoch_never_wins_and_a_command_is_obeyed_once(vt: Vaultak, operator: Operator) -> None:
    m = explicit(vt, "a")
    pause = await operator.order("a", "pause", epoch=7)
    late = await operator.order("a", "resume", epoch=6)
    await operator.send(pause)
    deny = await operator.order("a", "deny", action_id="nobody")
    acks = await operator.acks(pause.command_id, late.command_id, deny.command_id)
    assert acks[pause.command_id].result.value == "applied"
    assert acks[late.command_id].result.value == "ignored"
    assert acks[deny.command_id].result.value == "ignored"
    assert m.state is AgentState.PAUSED


async def test_junk_on_the_control_topic_stops_nothing(vt: Vaultak, operator: Operator) -> None:
    m = explicit(vt, "a")
    await operator._publish([(operator.topics.control, "a", junk) for junk in (b"", b"{", b"[]", b'{"command":"x"}')])
    await operator.order("a", "pause")
    await asyncio.to_thread(until, lambda: m.state is AgentState.PAUSED)


async def test_one_agent_is_stopped_while_others_go_on_and_a_star_stops_all(vt: Vaultak, operator: Operator) -> None:
    a, b = explicit(vt, "a"), explicit(vt, "b")
    await operator.order("a", "pause")
    await asyncio.to_thread(until, lambda: a.state is AgentState.PAUSED)
    assert b.state is AgentState.RUNNING
    await operator.order("*", "kill")
    await asyncio.to_thread(until, lambda: a.state is b.state is AgentState.KILLED)


async def test_the_state_from_before_the_start_holds(vt: Vaultak, operator: Operator) -> None:
    await operator.record_state(operator.command("late", "kill"), AgentState.KILLED)
    assert explicit(vt, "late").state is AgentState.KILLED


async def test_a_forged_state_is_not_taken_over(vt: Vaultak, operator: Operator) -> None:
    forged = msgspec.structs.replace(operator.command("late", "pause"), signature="00" * 64)
    await operator.record_state(forged, AgentState.PAUSED)
    assert explicit(vt, "late").state is AgentState.RUNNING


async def test_a_broken_key_file_beside_the_good_ones_is_passed_over_and_named(
    vt: Vaultak, operator: Operator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trusted = tmp_path / "keys" / "trusted"
    (trusted / "broken.pub").write_text("no key")
    (trusted / "binary.pub").write_bytes(b"\xff\xfe")
    stranger = msgspec.structs.replace(operator.command("late", "kill"), key_id="0" * 16)
    await operator.record_state(stranger, AgentState.KILLED)
    m = explicit(vt, "late")
    assert m.state is AgentState.RUNNING
    await operator.order("late", "pause")
    await asyncio.to_thread(until, lambda: m.state is AgentState.PAUSED)
    named = [r.getMessage() for r in caplog.records if "is passed over" in r.getMessage()]
    assert sorted(name in line for line in named for name in ("broken.pub", "binary.pub")) == [False, False, True, True]


async def test_an_operator_lets_a_waiting_action_run(vt: Vaultak, operator: Operator) -> None:
    m = explicit(vt, "a")
    await operator.order("a", "pause")
    await asyncio.to_thread(until, lambda: m.state is AgentState.PAUSED)
    waiting = asyncio.create_task(m.before_async(ActionType.FILE_READ, "/tmp/x", {}))
    await asyncio.sleep(0)
    (entry,) = m.audit_trail()
    approve = await operator.order("a", "approve", action_id=entry.action_id)
    assert await asyncio.wait_for(waiting, 10) == entry.action_id
    assert (await operator.acks(approve.command_id))[approve.command_id].result.value == "applied"


async def test_set_policy_is_acknowledged_as_ignored(vt: Vaultak, operator: Operator) -> None:
    explicit(vt, "a")
    command = await operator.order("a", "set_policy")
    assert (await operator.acks(command.command_id))[command.command_id].result.value == "ignored"


def test_nobody_waits_for_a_broker_that_cannot_be_reached(tmp_path: Path) -> None:
    away = settings(tmp_path, f"127.0.0.1:{free_port()}", Topics())
    with Vaultak(settings=away, state_timeout_s=60, rollback_limit=0) as vt:
        began = time.monotonic()
        for n in range(20):
            assert explicit(vt, f"agent-{n}").check("tool_call", "tool:read_notes").decision is Decision.ALLOW
        assert time.monotonic() - began < 30, "a first connection is tried, then none waited for"
        vt.close(0)


@pytest.mark.slow
async def test_commands_arrive_after_the_embedded_broker_came_back_empty(tmp_path: Path) -> None:
    names = Topics("restart")
    first = EmbeddedBroker(log_dir=tmp_path)
    first.start()
    await ensure_topics(first.bootstrap_servers, names.prefix)
    operator = Operator(tmp_path, first.bootstrap_servers, names)
    with Vaultak(
        settings=settings(tmp_path, first.bootstrap_servers, names), rollback_limit=0, state_timeout_s=10
    ) as vt:
        m, other = explicit(vt, "a"), explicit(vt, "other")
        for _ in range(5):
            await operator.order("a", "pause")
        last = await operator.order("a", "resume")
        await operator.acks(last.command_id)
        first.stop()
        second = EmbeddedBroker(port=first.port, log_dir=tmp_path)
        second.start()
        try:
            await ensure_topics(second.bootstrap_servers, names.prefix)
            await operator.record_state(operator.command("other", "kill"), AgentState.KILLED)
            await operator.order("a", "pause")
            await asyncio.to_thread(until, lambda: m.state is AgentState.PAUSED, 60)
            await asyncio.to_thread(until, lambda: other.state is AgentState.KILLED, 60)
        finally:
            vt.close()
            second.stop()


async def test_a_forked_child_hears_commands_too(vt: Vaultak, operator: Operator, tmp_path: Path) -> None:
    m = explicit(vt, "a")
    if (pid := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            m.check("custom", "tool:child")
            (tmp_path / "listens").touch()
            until(lambda: m.state is AgentState.KILLED)
            vt.flush(5)
            os._exit(0)
        os._exit(1)
    await asyncio.to_thread(until, (tmp_path / "listens").exists)
    kill = await operator.order("a", "kill")
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]) == 0
    await operator.acks(kill.command_id)
    assert m.state is AgentState.KILLED


async def test_a_rollback_that_takes_long_does_not_hold_up_a_kill(
    broker: Broker, topics: Topics, tmp_path: Path, operator: Operator
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def restore() -> None:
        begun.set()
        go_on.wait(30)

    with Vaultak(settings=settings(tmp_path, broker.bootstrap_servers, topics), state_timeout_s=10) as vt:
        act = vt.action("database_write", undo=restore)(lambda: None)
        with explicit(vt, "a") as m:
            act()
        rollback = await operator.order("a", "rollback")
        await asyncio.to_thread(until, begun.is_set)
        kill = await operator.order("a", "kill")
        await asyncio.to_thread(until, lambda: m.state is AgentState.KILLED)
        go_on.set()
        acks = await operator.acks(rollback.command_id, kill.command_id)
        assert acks[rollback.command_id].detail == "1 reversed"
