"""What every adapter must hold, whatever the framework: run with the real framework and a fake model behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from integrations.scenario import Harness, Scenario, Tools, causes
from vaultak import ActionBlockedError, AgentKilledError, AgentPausedError, KillSwitchMode, Vaultak
from vaultak.agent import Agent
from vaultak.config import Settings
from vaultak.integrations.toolcall import ToolCall
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, AgentState, Context, Outcome

DEADLINE_S = 20.0
DONE = "all done"


class Battery:
    """Subclasses give `harness`; `prefix` is what the framework puts before a tool's name."""

    harness: Harness
    prefix = ""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "mode" in metafunc.fixturenames:
            metafunc.parametrize("mode", self.harness.modes)

    @pytest.fixture(autouse=True)
    def applies(self, request: pytest.FixtureRequest) -> None:
        if why := self.harness.lacks.get(request.function.__name__):
            pytest.skip(why)

    @pytest.fixture
    def record(self) -> RecordingPublisher:
        return RecordingPublisher()

    @pytest.fixture
    def vt(self, tmp_path: Path, record: RecordingPublisher) -> Iterator[Vaultak]:
        client = self.client(tmp_path, record)
        yield client
        client.close()

    def client(self, tmp_path: Path, record: RecordingPublisher, **limits: Any) -> Vaultak:
        return Vaultak(
            publisher=record,
            settings=Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path / "data")}),
            max_risk_score=1.0,
            mode=KillSwitchMode.BLOCK,
            **{"blocked_resources": [f"tool:{self.prefix}erase", "*.env"], "pause_timeout_s": DEADLINE_S, **limits},
        )

    @pytest.fixture
    def tools(self, tmp_path: Path) -> Tools:
        return Tools(tmp_path)

    # -- allow, block ------------------------------------------------------------------------------------------

    def test_an_allowed_call_runs_and_is_recorded(
        self, vt: Vaultak, record: RecordingPublisher, tools: Tools, mode: Any
    ) -> None:
        shown = self.harness.run(Scenario(vt, tools, [[("note", {"text": "a"})], DONE], mode))
        assert tools.ran == [("note", "a")]
        assert "noted a" in shown
        (action,) = tool_calls(record)
        assert action.resource == f"tool:{self.prefix}note"
        assert action.payload == {"tool": f"{self.prefix}note", "arguments": {"text": "a"}}
        if self.harness.knows_request:
            assert [e.content for e in record.events() if isinstance(e, Context)] == ["please do your work"]
        (outcome,) = outcomes(record, action)
        assert (outcome.status, "noted a" in outcome.content) == ("ok", True)

    def test_a_blocked_call_does_not_run_and_the_model_is_told(
        self, vt: Vaultak, record: RecordingPublisher, tools: Tools, mode: Any
    ) -> None:
        script = [[("erase", {"text": "all"})], [("note", {"text": "b"})], DONE]
        shown = self.harness.run(Scenario(vt, tools, script, mode))
        assert tools.ran == [("note", "b")]
        assert "Not allowed" in shown
        denied, _ = tool_calls(record)
        assert [o.status for o in outcomes(record, denied)] == ["denied"]

    def test_a_blocked_call_ends_the_run_where_that_is_wanted(self, vt: Vaultak, tools: Tools, mode: Any) -> None:
        script = [[("erase", {"text": "all"})], DONE]
        self.ends_with(
            ActionBlockedError, lambda: self.harness.run(Scenario(vt, tools, script, mode, on_block="raise"))
        )
        assert tools.ran == []

    def test_what_a_tool_does_is_judged_too(self, vt: Vaultak, tools: Tools, mode: Any, tmp_path: Path) -> None:
        script = [[("save", {"text": "a.txt"})], [("save", {"text": "b.env"})], DONE]
        self.harness.run(Scenario(vt, tools, script, mode))
        assert tools.ran == [("save", "a.txt")]
        assert not (tmp_path / "b.env").exists()

    # -- pause, kill, rollback ---------------------------------------------------------------------------------

    def test_a_paused_agents_call_waits_and_runs_when_it_is_resumed(self, vt: Vaultak, tools: Tools, mode: Any) -> None:
        agent = set_state(vt, AgentState.PAUSED)
        run = in_thread(lambda: self.harness.run(Scenario(vt, tools, [[("note", {"text": "a"})], DONE], mode)))
        until(lambda: bool(agent._waiting.action_ids) or run.done())
        assert tools.ran == []
        vt.monitor("worker").approve()
        run.result(DEADLINE_S)
        assert tools.ran == [("note", "a")]

    def test_a_pause_that_nobody_lifts_ends_the_run(
        self, tmp_path: Path, record: RecordingPublisher, tools: Tools, mode: Any
    ) -> None:
        vt = self.client(tmp_path, record, pause_timeout_s=0.05)
        set_state(vt, AgentState.PAUSED)
        script = [[("note", {"text": "a"})], DONE]
        self.ends_with(AgentPausedError, lambda: self.harness.run(Scenario(vt, tools, script, mode)))
        assert tools.ran == []
        vt.close()

    def test_a_killed_agents_run_ends(self, vt: Vaultak, tools: Tools, mode: Any) -> None:
        set_state(vt, AgentState.KILLED)
        script = [[("note", {"text": "a"})], [("note", {"text": "b"})], DONE]
        self.ends_with(AgentKilledError, lambda: self.harness.run(Scenario(vt, tools, script, mode)))
        assert tools.ran == []

    def test_a_kill_reaches_a_call_that_waits(self, vt: Vaultak, tools: Tools, mode: Any) -> None:
        agent = set_state(vt, AgentState.PAUSED)
        run = in_thread(lambda: self.harness.run(Scenario(vt, tools, [[("note", {"text": "a"})], DONE], mode)))
        until(lambda: bool(agent._waiting.action_ids) or run.done())
        set_state(vt, AgentState.KILLED)
        self.ends_with(AgentKilledError, lambda: run.result(DEADLINE_S))
        assert tools.ran == []

    def test_a_rollback_undoes_what_was_called_newest_first(
        self, vt: Vaultak, record: RecordingPublisher, tools: Tools, mode: Any
    ) -> None:
        undone: list[tuple[str, str]] = []

        def undo(call: ToolCall) -> None:
            undone.append((call.arguments["text"], str(call.result)))

        script = [[("note", {"text": "a"})], [("note", {"text": "b"})], DONE]
        self.harness.run(Scenario(vt, tools, script, mode, undo={"note": undo}))
        steps = vt.monitor("worker").rollback()
        assert [text for text, _ in undone] == ["b", "a"]
        assert "noted b" in undone[0][1]
        assert {step.status for step in steps} == {"reversed"}

    # -- the usual ways around a guard -------------------------------------------------------------------------

    def test_of_calls_made_at_once_each_is_judged(
        self, vt: Vaultak, record: RecordingPublisher, tools: Tools, mode: Any
    ) -> None:
        at_once = [("note", {"text": "a"}), ("erase", {"text": "all"}), ("note", {"text": "b"})]
        self.harness.run(Scenario(vt, tools, [at_once, DONE], mode))
        assert sorted(tools.ran) == [("note", "a"), ("note", "b")]
        statuses = {a.payload["arguments"]["text"]: outcomes(record, a)[0].status for a in tool_calls(record)}
        assert statuses == {"a": "ok", "all": "denied", "b": "ok"}

    def test_a_sub_agents_calls_are_judged(
        self, vt: Vaultak, record: RecordingPublisher, tools: Tools, mode: Any
    ) -> None:
        script = [[("erase", {"text": "all"})], [("note", {"text": "a"})], DONE]
        self.harness.run_sub_agent(Scenario(vt, tools, script, mode))
        assert tools.ran == [("note", "a")]
        denied = [a for a in tool_calls(record) if a.resource == f"tool:{self.prefix}erase"]
        assert [o.status for a in denied for o in outcomes(record, a)] == ["denied"]

    def test_a_tool_added_at_run_time_is_judged(self, vt: Vaultak, tools: Tools, mode: Any) -> None:
        script = [[("note", {"text": "a"})], [("erase", {"text": "all"})], [("save", {"text": "c"})], DONE]
        self.harness.run(Scenario(vt, tools, script, mode, given=("note",), late=("erase", "save")))
        assert tools.ran == [("note", "a"), ("save", "c")]

    def test_an_error_of_the_tool_is_recorded_and_stays_the_frameworks_matter(
        self, vt: Vaultak, record: RecordingPublisher, tools: Tools, mode: Any
    ) -> None:
        try:
            self.harness.run(Scenario(vt, tools, [[("fail", {"text": "x"})], DONE], mode))
        except Exception as e:
            assert any("it broke: x" in str(one) for one in causes(e))
        assert tools.ran[:1] == [("fail", "x")]
        outcome = outcomes(record, tool_calls(record)[0])[0]
        assert outcome.status == "error"
        assert self.harness.says_of_errors in outcome.error

    def test_what_cannot_be_judged_does_not_run(
        self, vt: Vaultak, tools: Tools, mode: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise RuntimeError("a bug of the guard's own")

        monkeypatch.setattr(Agent, "judge", broken)
        assert "Not allowed" in self.harness.run(Scenario(vt, tools, [[("note", {"text": "a"})], DONE], mode))
        assert tools.ran == []

    def test_inside_a_monitor_of_the_same_agent_its_session_governs(
        self, vt: Vaultak, record: RecordingPublisher, tools: Tools
    ) -> None:
        mode = self.harness.modes[0]
        with vt.monitor("worker", session_id="mine"):
            self.harness.run(Scenario(vt, tools, [[("note", {"text": "a"})], DONE], mode))
        assert {a.session_id for a in tool_calls(record)} == {"mine"}

    def ends_with(self, kind: type[BaseException], run: Callable[[], object]) -> None:
        """The run ends with a denial; where the agent is at the other end of a connection, it is told."""
        if self.harness.remote:
            assert "Not allowed" in str(run())
            return
        try:
            run()
        except BaseException as e:
            assert any(isinstance(one, kind) for one in causes(e)), causes(e)
        else:
            pytest.fail(f"the run ended without {kind.__name__}")


def tool_calls(record: RecordingPublisher) -> list[Any]:
    """Calls of tools; the code that calls some of them is none of these."""
    calls = [e for e in record.events() if isinstance(e, Action) and e.action_type == "tool_call"]
    return [call for call in calls if call.resource != "tool:python_interpreter"]


def outcomes(record: RecordingPublisher, action: Any) -> list[Any]:
    return [e for e in record.events() if isinstance(e, Outcome) and e.action_id == action.action_id]


def set_state(vt: Vaultak, state: AgentState) -> Any:
    agent = vt.monitor("worker")._agent
    agent._set_state(state, "the test says so")
    return agent


def in_thread(run: Callable[[], object]) -> Future[object]:
    future: Future[object] = Future()

    def work() -> None:
        try:
            future.set_result(run())
        except BaseException as e:
            future.set_exception(e)

    threading.Thread(target=work, daemon=True).start()
    return future


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)
