"""The whole system as a user runs it: `vaultak up`, `vaultak ingest`, the audit, `vaultak replay`, operating agents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from vaultak import ActionBlockedError, AgentKilledError, KillSwitchMode, Vaultak
from vaultak.config import Settings
from vaultak.policy.settings import MissingVerdict, PolicySettings
from vaultak_devstack.lockfile import StackState
from vaultak_devstack.ports import free_port
from vaultak_streams.store.client import Store, connect

pytestmark = [pytest.mark.stack, pytest.mark.slow]

EVAL = Path(os.environ.get("VAULTAK_EVAL_DIR", Path(__file__).parents[3] / "shared" / "eval")) / "agentdojo"
KAFKA = os.environ.get("VAULTAK_TEST_BROKER") == "kafka"


class Running:
    """A `vaultak up` of this test's own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("VAULTAK_")}
        self.env |= {"VAULTAK_DATA_DIR": str(data_dir), "VAULTAK_BROKER_PORT": str(free_port())}
        self.log = data_dir.parent / "up.log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "vaultak", "up", "--broker", "kafka" if KAFKA else "embedded"]
            self.process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        deadline = time.monotonic() + 90
        while b"is up" not in self.log.read_bytes():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def vaultak(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vaultak", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=150)

    @property
    def state(self) -> StackState:
        state = StackState.load(self.data_dir)
        assert state is not None
        return state

    def store(self) -> Store:
        return connect(self.state.clickhouse_dsn)

    def settings(self) -> Settings:
        env = {"VAULTAK_BOOTSTRAP_SERVERS": self.state.bootstrap_servers, "VAULTAK_DATA_DIR": str(self.data_dir)}
        return Settings.from_env(env)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def wait_for(holds: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    up = Running(tmp_path_factory.mktemp("up") / "data")
    yield up
    if up.process.poll() is None:
        up.process.kill()


@pytest.mark.skipif(not EVAL.is_dir(), reason="the recorded runs are not here (VAULTAK_EVAL_DIR)")
@pytest.mark.timeout(300)
def test_recorded_runs_are_all_judged_stored_once_and_as_replay_judges_them(running: Running, tmp_path: Path) -> None:
    history, test = EVAL / "slack.history.jsonl.gz", EVAL / "slack.test.jsonl.gz"
    published = running.vaultak("ingest", "--input", str(history), "--input", str(test), "--json", "--timeout", "90")
    assert published.returncode == 0, published.stderr + running.log.read_text()
    summary = json.loads(published.stdout)
    assert summary["verdicts"] == summary["actions"] > 4000

    # The verdicts are out before the store has its rows.
    stored_events = "SELECT count() FROM events WHERE agent_id = 'slack-assistant'"
    stored_actions = "SELECT count() FROM actions WHERE agent_id = 'slack-assistant' AND scored_ts IS NOT NULL"
    with running.store() as store:
        wait_for(lambda: store.query(stored_events).rows[0][0] >= summary["events"])
        wait_for(lambda: store.query(stored_actions).rows[0][0] >= summary["actions"])
        rows = store.query(
            "SELECT action_id, risk, decision, reasons, model_version, baseline_events FROM actions"
            " WHERE agent_id = 'slack-assistant'"
        ).rows
        events = store.query(stored_events).rows[0][0]
    assert events == summary["events"]
    assert len(rows) == len({row[0] for row in rows}) == summary["actions"]

    output = tmp_path / "verdicts.jsonl"
    arguments = ["--history", str(history), "--input", str(test), "--output", str(output)]
    assert running.vaultak("replay", *arguments).returncode == 0
    offline = {v["action_id"]: v for v in map(json.loads, output.read_text().splitlines())}
    stored = {row[0]: row for row in rows}
    assert len(offline) == 4320
    for action_id, v in offline.items():
        expected = (v["risk"], v["decision"], v["reasons"], v["model_version"], v["baseline_events"])
        assert stored[action_id][1:] == expected, action_id

    again = tmp_path / "again.jsonl"
    running.vaultak("replay", *arguments[:-1], str(again))
    assert again.read_bytes() == output.read_bytes()


def test_an_operator_pauses_resumes_and_kills_an_agent_and_the_audit_shows_it(running: Running) -> None:
    with Vaultak(settings=running.settings(), rollback_limit=0, state_timeout_s=10) as vt:
        m = vt.monitor("operated", intercept=False)
        with m:
            assert m.check("tool_call", "tool:look", {"q": 1}).decision == "allow"
            for command, state in [("pause", "paused"), ("resume", "running"), ("kill", "killed")]:
                done = running.vaultak(command, "operated", "--reason", "a test", "--json")
                assert done.returncode == 0, done.stderr
                acks = json.loads(done.stdout)["acks"]
                assert [ack["result"] for ack in acks] == ["applied"], (command, acks)
                assert m.state == state
            with pytest.raises(AgentKilledError):
                m.before("tool_call", "tool:look", {})
            assert vt.flush(10)
    with Vaultak(settings=running.settings(), rollback_limit=0, state_timeout_s=10) as later:
        assert later.monitor("operated").state == "killed", "an agent that starts later learns its state"

    def audited() -> bool:
        with running.store() as store:
            rows = store.query(
                "SELECT c.command, a.result FROM commands AS c INNER JOIN acks AS a ON a.command_id = c.command_id"
                " WHERE c.agent_id = 'operated' ORDER BY c.ts"
            ).rows
        return rows == [("pause", "applied"), ("resume", "applied"), ("kill", "applied")]

    wait_for(audited)
    listed = {row["agent_id"]: row for row in json.loads(running.vaultak("agents", "--json").stdout)}
    assert listed["operated"]["state"] == "killed"


def test_an_agent_in_any_language_is_judged_and_killed_over_http(running: Running) -> None:
    key = running.vaultak("gateway", "add-key", "shell", "--json")
    at = (running.data_dir / "gateway" / "address").read_text()
    client = httpx.Client(base_url=at, headers={"Authorization": f"Bearer {json.loads(key.stdout)['key']}"}, timeout=40)
    sent = {"kind": "action", "agent_id": "shell", "action_type": "tool_call", "resource": "tool:look", "payload": {}}
    answer = client.post("/v1/actions", params={"wait": 20}, json=sent).json()
    assert (answer["decision"], answer["judged_by"]) == ("allow", "pipeline")
    assert answer["verdict"]["model_version"]
    killed = json.loads(running.vaultak("kill", "shell", "--reason", "a test", "--json").stdout)
    assert [ack["result"] for ack in killed["acks"]] == ["applied"]
    assert client.post("/v1/actions", json=sent).json()["decision"] == "kill"
    shown = running.vaultak("metrics")
    assert shown.returncode == 0, shown.stdout
    assert all(name in shown.stdout for name in ("gateway", "sink", "worker-0"))
    client.close()


def test_bad_input_ends_on_the_dead_letter_topic_and_the_doctor_shows_it(running: Running, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    good = {"schema_version": 1, "kind": "action", "agent_id": "x", "session_id": "s", "ts": "2026-03-02T08:08:42Z",
            "action_id": "good-1", "action_type": "tool_call", "resource": "tool:t", "payload": {}}  # fmt: skip
    lines = [
        "{broken",
        json.dumps({**good, "action_type": "teleport"}),
        json.dumps({**good, "payload": 7}),
        json.dumps({**good, "ts": "2199-01-01T00:00:00Z"}),
        json.dumps({**good, "payload": {"x": "y" * 700_000}}),
        json.dumps(good),
    ]
    bad.write_text("\n".join(lines) + "\n")
    published = running.vaultak("ingest", "--input", str(bad), "--json")
    assert published.returncode == 0, published.stderr
    deadline = time.monotonic() + 20
    while True:
        findings = json.loads(running.vaultak("doctor", "--json").stdout)
        reasons = {f["detail"].split(" x ")[1].split(",")[0] for f in findings if f["subject"] == "dead letters"
                   and " x " in f["detail"]}  # fmt: skip
        if {"malformed_json", "invalid", "clock_skew", "too_large"} <= reasons:
            break
        assert time.monotonic() < deadline, findings
        time.sleep(0.5)
    assert {f["grade"] for f in findings if f["subject"] in ("broker", "topics", "clickhouse", "worker-0", "sink")} == {
        "ok"
    }


def test_an_action_in_the_grey_zone_waits_for_the_stream_and_is_stopped(running: Running) -> None:
    policy = PolicySettings(
        verdict_from_risk=0.05,
        verdict_timeout_ms=20_000,
        missing_verdict=MissingVerdict.BLOCK,
        mode=KillSwitchMode.BLOCK,
    )
    with Vaultak(settings=running.settings(), policy=policy, rollback_limit=0, state_timeout_s=10) as vt:
        m = vt.monitor("grey", intercept=False)
        with m:
            for number in range(60):
                m.check("tool_call", "tool:get_ticket", {"ticket_id": f"t{number}"})
            assert m.before("tool_call", "tool:get_ticket", {"ticket_id": "t1"}), "the stream has nothing against it"
            assert m.check("file_read", "/root/.ssh/id_ed25519").decision == "allow", "alone, the SDK would let it pass"
            with pytest.raises(ActionBlockedError, match="risk"):
                m.before("file_read", "/root/.ssh/id_ed25519", {})


def test_a_second_stack_says_what_runs_and_ctrl_c_stops_cleanly(running: Running) -> None:
    second = running.vaultak("up")
    assert second.returncode == 1
    assert str(running.process.pid) in second.stderr
    pids = running.state.pids
    assert running.stop() == 0
    assert "stopped" in running.log.read_text()
    for name, pid in pids.items():
        assert not Path(f"/proc/{pid}").exists(), f"{name} is still there"
