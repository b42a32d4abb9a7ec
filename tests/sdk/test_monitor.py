"""The monitor as a program uses it: actions pass, wait, are refused; every one of them is on record."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.operator_side import until
from vaultak import (
    ActionBlockedError,
    ActionType,
    AgentKilledError,
    AgentPausedError,
    ConfigurationError,
    Decision,
    KillSwitchMode,
    Monitor,
    OutcomeStatus,
    Vaultak,
    VaultakError,
    Verdict,
    governor,
)
from vaultak.config import Settings
from vaultak.testing import RecordingPublisher
from vaultak.wire import AckResult, Action, AgentState, Command, CommandType, Context, Outcome, format_ts

READ, TOOL = ActionType.FILE_READ, ActionType.TOOL_CALL

Make = Callable[..., Monitor]


@pytest.fixture
def published() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def make(published: RecordingPublisher, tmp_path: Path) -> Iterator[Make]:
    """A monitor of explicit actions under given limits."""
    clients: list[Vaultak] = []

    def make(agent_id: str = "a", **limits: Any) -> Monitor:
        limits = {"rollback_limit": 0, "pause_timeout_s": 10, "max_risk_score": 1.0} | limits
        vt = Vaultak(publisher=published, settings=Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path)}), **limits)
        clients.append(vt)
        return vt.monitor(agent_id, intercept=False)

    yield make
    for client in clients:
        client.close()


def actions(published: RecordingPublisher) -> list[Action]:
    return [e for e in published.events() if isinstance(e, Action)]


def outcomes(published: RecordingPublisher) -> list[Outcome]:
    return [e for e in published.events() if isinstance(e, Outcome)]


# -- deciding ------------------------------------------------------------------------------------------------------


def test_an_allowed_action_runs_and_its_event_carries_the_verdict(make: Make, published: RecordingPublisher) -> None:
    m = make()
    verdict = m.check("tool_call", "tool:send_money", {"amount": 10})
    (action,) = actions(published)
    assert (verdict.action_id, verdict.ts, verdict.session_id) == (action.action_id, action.ts, m.session_id)
    assert verdict.policy_version == action.local.policy_version != ""  # type: ignore[union-attr]
    assert (action.action_type, action.resource, action.payload) == (TOOL, "tool:send_money", {"amount": 10})
    assert verdict.factors.destructiveness == 0.5


@pytest.mark.parametrize("mode", list(KillSwitchMode))
def test_check_tells_and_never_raises_or_waits(make: Make, mode: KillSwitchMode) -> None:
    m = make(blocked_resources=["*.env"], mode=mode)
    assert m.check("file_read", "/srv/.env").decision is not Decision.ALLOW
    assert m.state is AgentState.RUNNING


@given(
    kind=st.one_of(st.sampled_from(list(ActionType)), st.text(), st.none(), st.integers()),
    resource=st.one_of(st.text(st.characters()), st.none(), st.binary(), st.integers()),
    payload=st.one_of(
        st.none(), st.text(st.characters()), st.integers(), st.dictionaries(st.text(st.characters()), st.floats())
    ),
)
def test_check_takes_anything_at_all(kind: Any, resource: Any, payload: Any) -> None:
    with Vaultak(publisher=RecordingPublisher(), rollback_limit=0) as vt:
        assert isinstance(vt.monitor("a", intercept=False).check(kind, resource, payload), Verdict)


def test_check_survives_values_that_misbehave(make: Make, published: RecordingPublisher) -> None:
    class Wicked(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("no")

        def get(self, *_: Any) -> Any:
            raise RuntimeError("no")

        def __repr__(self) -> str:
            raise RuntimeError("no")

    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise RuntimeError("no")

    loop: dict[str, Any] = {}
    loop["self"] = loop
    for payload in (Wicked(a=1), {"x": Wicked(a=1)}, {"x": Text("hello, world")}, loop, {"x": object()}, {1: 2}):
        assert make().check("custom", Text("tool:x"), payload).decision is Decision.ALLOW
    assert len(actions(published)) == 6


def test_block_raises_with_the_reasons_and_is_on_record_as_denied(make: Make, published: RecordingPublisher) -> None:
    m = make(blocked_resources=["*.env"])
    with pytest.raises(ActionBlockedError, match=r"matches blocked `\*\.env`") as caught:
        m.before(READ, "/srv/.env", {})
    (outcome,) = outcomes(published)
    assert (outcome.action_id, outcome.status) == (caught.value.action_id, OutcomeStatus.DENIED)
    assert caught.value.reasons
    m.before(READ, "/srv/readme", {})


def test_a_blocked_file_among_a_childs_arguments_is_found(make: Make) -> None:
    m = make(blocked_resources=["*.env", "10.0.0.1:*"])
    with pytest.raises(ActionBlockedError):
        m.before(ActionType.PROCESS_SPAWN, "process:/bin/cat", {"resources": ["/srv/a", "/srv/.env"]})
    with pytest.raises(ActionBlockedError):
        m.before(ActionType.NETWORK_REQUEST, "inside.example:80", {"resources": ["10.0.0.1:80"]})
    m.before(ActionType.PROCESS_SPAWN, "process:/bin/cat", {"resources": [3, None], "x": 1})


def test_alert_lets_it_pass(make: Make) -> None:
    make(blocked_resources=["*"], mode="alert").before(READ, "/x", {})


def test_kill_mode_ends_the_agent_for_good_and_cannot_be_swallowed(make: Make, published: RecordingPublisher) -> None:
    m = make(blocked_resources=["*.env"], mode="kill")

    def agent() -> str:
        try:
            m.before(READ, "/srv/.env", {})
        except Exception:
            return "swallowed"
        return "ran"

    with pytest.raises(AgentKilledError):
        agent()
    with pytest.raises(AgentKilledError, match="killed"):
        m.before(READ, "/srv/readme", {})
    m.approve()
    assert m.state is AgentState.KILLED
    assert [o.status for o in outcomes(published)] == [OutcomeStatus.DENIED] * 2


# -- waiting -------------------------------------------------------------------------------------------------------


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as e:
            result.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result


def test_a_risky_action_waits_and_runs_once_resumed_without_pausing_again(
    make: Make, published: RecordingPublisher
) -> None:
    m = make(max_risk_score=0.3)
    thread, result = in_thread(lambda: m.before(ActionType.FILE_DELETE, "/tmp/x", {}))
    until(lambda: m.state is AgentState.PAUSED)
    other, second = in_thread(lambda: m.before(READ, "/tmp/y", {}))
    until(lambda: len(actions(published)) == 2)
    assert not result
    assert not second
    m.approve()
    thread.join(5)
    other.join(5)
    assert {result[0], second[0]} == {a.action_id for a in actions(published)}
    assert m.state is AgentState.RUNNING
    assert not outcomes(published)
    assert actions(published)[0].local.decision == "pause"  # type: ignore[union-attr]


def test_a_rate_over_the_limit_waits_and_a_resume_starts_the_minute_anew(make: Make) -> None:
    m = make(max_actions_per_minute=2)
    for _ in range(2):
        m.before(READ, "/tmp/x", {})
    thread, result = in_thread(lambda: m.before(READ, "/tmp/x", {}))
    until(lambda: m.state is AgentState.PAUSED)
    m.approve()
    thread.join(5)
    assert isinstance(result[0], str)
    m.before(READ, "/tmp/x", {})


def test_one_action_is_approved_another_denied_while_the_agent_stays_paused(
    make: Make, published: RecordingPublisher
) -> None:
    m = make(max_risk_score=0.3)
    first, approved = in_thread(lambda: m.before(ActionType.FILE_DELETE, "/tmp/1", {}))
    until(lambda: len(actions(published)) == 1)
    second, denied = in_thread(lambda: m.before(ActionType.FILE_DELETE, "/tmp/2", {}))
    until(lambda: len(actions(published)) == 2)
    one, two = (a.action_id for a in actions(published))
    m.approve(one)
    m.deny(two)
    first.join(5)
    second.join(5)
    assert approved == [one]
    assert isinstance(denied[0], ActionBlockedError)
    assert denied[0].action_id == two
    assert m.state is AgentState.PAUSED
    assert [(o.action_id, o.status) for o in outcomes(published)] == [(two, OutcomeStatus.DENIED)]


def test_a_wait_ends_with_the_timeout_and_with_a_kill(make: Make, published: RecordingPublisher) -> None:
    with pytest.raises(AgentPausedError, match=r"0\.05 s"):
        make(max_risk_score=0.3, pause_timeout_s=0.05).before(ActionType.FILE_DELETE, "/tmp/x", {})
    assert [o.status for o in outcomes(published)] == [OutcomeStatus.PAUSED]
    m = make(max_risk_score=0.3)
    thread, result = in_thread(lambda: m.before(ActionType.FILE_DELETE, "/tmp/x", {}))
    until(lambda: m.state is AgentState.PAUSED)
    m._agent._set_state(AgentState.KILLED, "enough")
    thread.join(5)
    assert isinstance(result[0], AgentKilledError)


async def test_an_async_pause_leaves_the_loop_free(make: Make) -> None:
    m = make(max_risk_score=0.3)
    waiting = asyncio.create_task(m.before_async(ActionType.FILE_DELETE, "/tmp/x", {}))
    turns = 0
    while m.state is not AgentState.PAUSED or turns < 50:
        await asyncio.sleep(0.001)
        turns += 1
    assert not waiting.done()
    await asyncio.to_thread(m.approve)
    assert isinstance(await asyncio.wait_for(waiting, 5), str)


async def test_an_async_wait_times_out_is_denied_and_can_be_cancelled(make: Make) -> None:
    with pytest.raises(AgentPausedError):
        await make(max_risk_score=0.3, pause_timeout_s=0.02).before_async(ActionType.FILE_DELETE, "/tmp/x", {})
    m = make(max_risk_score=0.3)
    waiting = asyncio.create_task(m.before_async(ActionType.FILE_DELETE, "/tmp/x", {}))
    await asyncio.sleep(0.01)
    m.deny()
    with pytest.raises(ActionBlockedError):
        await waiting
    cancelled = asyncio.create_task(m.before_async(ActionType.FILE_DELETE, "/tmp/x", {}))
    await asyncio.sleep(0.01)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert not m._agent._waiting.action_ids
    assert not m._agent._waiting._wakers


def test_an_action_paused_by_a_state_that_is_over_does_not_pause_the_agent_again(make: Make) -> None:
    m = make()
    agent = m._agent
    agent._set_state(AgentState.PAUSED, "operator")
    judged = agent.judge("s", READ, "/tmp/x", {}, labels={})
    agent._set_state(AgentState.RUNNING, "")
    agent.enforce("s", judged.action_id, judged.verdict)
    assert m.state is AgentState.RUNNING


# -- monitors ------------------------------------------------------------------------------------------------------


def test_monitors_nest_and_the_innermost_governs(make: Make) -> None:
    outer, inner = make("outer"), make("inner")
    assert governor.current() is None
    with outer:
        assert governor.current() is outer
        with inner:
            assert governor.current() is inner
        assert governor.current() is outer
        with pytest.raises(VaultakError, match="entered already"), outer:
            pass
    assert governor.current() is None


async def test_tasks_are_governed_apart(make: Make) -> None:
    async def inside(m: Monitor) -> bool:
        async with m:
            await asyncio.sleep(0.01)
            return governor.current() is m

    monitors = [make(f"a{n}") for n in range(5)]
    assert all(await asyncio.gather(*map(inside, monitors)))
    assert governor.current() is None


def test_a_monitor_of_explicit_actions_is_not_intercepted_by_the_hook_of_another(
    make: Make, published: RecordingPublisher, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("x")
    with Vaultak(publisher=published, rollback_limit=0) as vt, vt.monitor("watched"):
        (tmp_path / "x").read_text()
    assert [a.resource for a in actions(published)] == [str((tmp_path / "x").resolve())]
    with make("quiet"):
        (tmp_path / "x").read_text()
    assert len(actions(published)) == 1


def test_actions_of_many_threads_are_all_on_record(make: Make, published: RecordingPublisher) -> None:
    m = make()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: m.check("custom", f"tool:{n}"), range(400)))
    assert {a.resource for a in actions(published)} == {f"tool:{n}" for n in range(400)}


# -- functions as actions ------------------------------------------------------------------------------------------


def test_a_decorated_function_is_judged_recorded_and_named(published: RecordingPublisher) -> None:
    with Vaultak(publisher=published, rollback_limit=0, blocked_resources=["db://pg/crm/secrets"]) as vt:

        @vt.action("database_write", resource="db://pg/{database}/{table}")
        def write(table: str, rows: int = 1, *, database: str = "crm") -> str:
            """Docstring."""
            return f"wrote {rows}"

        with vt.monitor("a", intercept=False):
            assert write("users", 3) == "wrote 3"
            with pytest.raises(ActionBlockedError):
                write("secrets")
        assert write("users{0.__class__}") == "wrote 1"
    first, _, loose = actions(published)
    assert (first.agent_id, first.resource) == ("a", "db://pg/crm/users")
    assert first.payload == {"table": "users", "rows": 3, "database": "crm"}
    assert loose.agent_id == "default"
    assert loose.resource == "db://pg/crm/users{0.__class__}"
    assert [o.status for o in outcomes(published)] == ["ok", "denied", "ok"]
    assert outcomes(published)[0].content == "wrote 3"
    assert (write.__name__, write.__doc__) == ("write", "Docstring.")


def test_an_argument_cannot_stand_for_another(published: RecordingPublisher) -> None:
    with Vaultak(publisher=published, rollback_limit=0) as vt:

        @vt.action("custom", resource="{first}:{second}")
        def act(first: str, second: str) -> None: ...

        act("{second}", "secret-place")
    assert actions(published)[0].resource == "{second}:secret-place"


async def test_a_decorated_coroutine_stays_one_and_its_error_is_on_record(published: RecordingPublisher) -> None:
    with Vaultak(publisher=published, rollback_limit=0) as vt:

        @vt.action("tool_call", resource=lambda name: f"tool:{name}")
        async def call(name: str) -> None:
            await asyncio.sleep(0)
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await call("x")
    assert actions(published)[0].resource == "tool:x"
    assert (outcomes(published)[0].status, outcomes(published)[0].error) == ("error", "ValueError: broken")


def test_a_wrong_action_type_is_named_at_once() -> None:
    with Vaultak(publisher=RecordingPublisher(), rollback_limit=0) as vt:
        with pytest.raises(ConfigurationError, match="`database`"):
            vt.action("database")


def test_log_action_and_its_outcome(published: RecordingPublisher) -> None:
    with Vaultak(publisher=published, rollback_limit=0, blocked_resources=["/x"]) as vt:
        verdict = vt.log_action(agent_id="my-agent", action_type="file_delete", resource="/x")
        assert verdict.decision is Decision.BLOCK
        vt.log_outcome(agent_id="my-agent", action_id=verdict.action_id, status="denied")
    assert outcomes(published)[0].action_id == verdict.action_id


def test_the_audit_trail_shows_this_session_with_what_came_of_it(make: Make, published: RecordingPublisher) -> None:
    m = make(blocked_resources=["*.env"])
    first = m.before(READ, "/tmp/x", {})
    m.after(first, OutcomeStatus.OK, duration_ms=2.5)
    with pytest.raises(ActionBlockedError):
        m.before(READ, "/tmp/.env", {})
    m.context("tidy up")
    ok, denied = m.audit_trail()
    assert (ok.action_id, ok.status, ok.duration_ms, ok.decision) == (first, "ok", 2.5, "allow")
    assert (denied.status, denied.decision, denied.resource) == ("denied", "block", "/tmp/.env")
    assert [e.content for e in published.events() if isinstance(e, Context)] == ["tidy up"]


def test_the_audit_trail_is_bounded(make: Make) -> None:
    m = make()
    for n in range(1200):
        m.check("custom", f"tool:{n}")
    assert [e.resource for e in m.audit_trail()] == [f"tool:{n}" for n in range(200, 1200)]


# -- the end -------------------------------------------------------------------------------------------------------


def test_a_closed_client_begins_anew_but_its_old_monitors_do_not(published: RecordingPublisher) -> None:
    vt = Vaultak(publisher=published, rollback_limit=0, blocked_resources=["*.env"])
    old = vt.monitor("a", intercept=False)
    with old:
        vt.close()
        vt.close()
        with pytest.raises(ActionBlockedError):
            old.before(READ, "/srv/.env", {})
    with pytest.raises(VaultakError, match="was closed"), old:
        pass
    with vt.monitor("a", intercept=False) as new:
        new.check("custom", "tool:x")
    vt.close()
    assert len({a.instance for a in actions(published)}) == 2


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"mode": "stop"}, "mode"),
        ({"max_risk_score": 3}, "max_risk_score"),
        ({"allowed_action_types": ["files"]}, "allowed_action_types"),
        ({"blocked_resources": "*.env"}, "blocked_resources"),
        ({"rollback_limit": -1}, "rollback_limit"),
        ({"pause_timeout_s": "1"}, "pause_timeout_s"),
        ({"bootstrap_servers": "nowhere"}, "nowhere"),
    ],
)
def test_a_wrong_keyword_is_named_in_one_line(keywords: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Vaultak(publisher=RecordingPublisher(), **keywords)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("agent_id", ["", "*", "x" * 257, None, "\udcff"])
def test_an_agent_id_that_cannot_be_a_key_is_refused(agent_id: Any) -> None:
    with Vaultak(publisher=RecordingPublisher(), rollback_limit=0) as vt, pytest.raises(ConfigurationError):
        vt.monitor(agent_id)


def test_a_check_is_fast_beside_what_it_guards(make: Make) -> None:
    m = make(blocked_resources=[f"/{n}/*" for n in range(200)])
    m.check("file_read", "/tmp/x")
    start = time.perf_counter()
    for _ in range(1000):
        m.check("file_read", "/tmp/x", {"op": "open"})
    assert (time.perf_counter() - start) / 1000 < 0.001


# -- undoing -------------------------------------------------------------------------------------------------------


def test_compensations_run_last_first_outside_every_governor_and_are_on_record(
    published: RecordingPublisher, tmp_path: Path
) -> None:
    settings = Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path)})
    undone: list[tuple[int, object]] = []
    with Vaultak(publisher=published, settings=settings) as vt:

        def restore(n: int) -> None:
            undone.append((n, governor.current()))

        async def restore_async(n: int) -> None:
            await asyncio.sleep(0)
            restore(n)

        write = vt.action("database_write", undo=restore)(lambda n: n)
        write_async = vt.action("database_write", undo=restore_async)(lambda n: n)
        with vt.monitor("a", intercept=False) as m:
            write(1)
            write_async(2)
            m._agent._set_state(AgentState.KILLED, "enough")
            steps = m.rollback()
    assert undone == [(2, None), (1, None)]
    assert [step.status for step in steps] == ["reversed", "reversed"]
    reversed_ids = [o.action_id for o in outcomes(published) if o.status is OutcomeStatus.REVERSED]
    assert reversed_ids == [a.action_id for a in reversed(actions(published))]


def test_a_command_to_roll_back_another_replicas_action_undoes_nothing_here(
    published: RecordingPublisher, tmp_path: Path
) -> None:
    undone: list[int] = []
    settings = Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path)})
    with Vaultak(publisher=published, settings=settings) as vt, vt.monitor("a", intercept=False) as m:
        write = vt.action("database_write", undo=undone.append)(lambda n: n)
        for n in range(3):
            write(n)

        def obey(action_id: str) -> AckResult:
            return m._agent.obey(
                Command(
                    command_id="c",
                    agent_id="a",
                    command=CommandType.ROLLBACK,
                    action_id=action_id,
                    ts=format_ts(0),
                    expires_at=format_ts(9e9),
                    issued_by="operator",
                )
            )[0]

        assert obey("of-another-replica") is AckResult.IGNORED
        assert undone == []
        assert obey(m.audit_trail()[1].action_id) is AckResult.APPLIED
        assert undone == [2, 1], "the action named and those after it"
        assert obey("") is AckResult.APPLIED
        assert undone == [2, 1, 0], "no action named: the last ones"


async def test_an_async_compensation_runs_though_a_loop_is_running(
    published: RecordingPublisher, tmp_path: Path
) -> None:
    undone: list[int] = []
    settings = Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path)})
    with Vaultak(publisher=published, settings=settings) as vt:

        async def restore(n: int) -> None:
            undone.append(n)

        @vt.action("database_write", undo=restore)
        async def write(n: int) -> None: ...

        async with vt.monitor("a", intercept=False) as m:
            await write(7)
            m.rollback()
    assert undone == [7]


def test_the_rollback_mode_restores_files_and_pauses_the_agent(published: RecordingPublisher, tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    report.write_text("before")
    settings = Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path / "data")})
    with Vaultak(publisher=published, settings=settings, blocked_resources=["*.env"], mode="rollback") as vt:
        with vt.monitor("a") as m:
            report.write_text("spoilt")
            with pytest.raises(ActionBlockedError):
                (tmp_path / ".env").write_text("x")
        assert m.state is AgentState.PAUSED
    assert report.read_text() == "before"
    assert not (tmp_path / ".env").exists()
    assert "reversed" in [o.status for o in outcomes(published)]


def test_a_forked_child_keeps_an_undo_log_of_its_own(published: RecordingPublisher, tmp_path: Path) -> None:
    settings = Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path / "data")})
    with Vaultak(publisher=published, settings=settings) as vt:
        m = vt.monitor("a", intercept=False)
        log = m.undo
        if (pid := os.fork()) == 0:
            m.check("custom", "tool:child")
            os._exit(0 if m.undo is not None and m.undo is not log else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert m.undo is log
