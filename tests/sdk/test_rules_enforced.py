"""Rules judge what an agent does before it happens, beside the limits."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vaultak import ActionBlockedError, AgentKilledError, AgentPausedError, Vaultak
from vaultak.errors import PolicyError
from vaultak.policy.rules import Bundle
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, AgentState, Decision, Outcome, OutcomeStatus
from vaultak_streams.policy import bundle_from

Make = Callable[..., Vaultak]

RULE = """
title: {title}
id: {id}
detection:
  selection:
{tests}
  condition: selection
enforce: {enforce}
{more}
"""


def rule(id: str, enforce: str, more: str = "", **tests: object) -> str:
    lines = "\n".join(f"    {name.replace('__', '|')}: {value}" for name, value in tests.items())
    return RULE.format(id=id, title=f"The {id} rule", enforce=enforce, tests=lines, more=more)


def bundle(*rules: str) -> Bundle:
    return bundle_from([("rules.yaml", "---".join(rules))])


@pytest.fixture
def published() -> RecordingPublisher:
    return RecordingPublisher()


def client(published: RecordingPublisher, *rules: str, **more: Any) -> Vaultak:
    return Vaultak(publisher=published, rollback_limit=0, rules=bundle(*rules), **more)


def actions(published: RecordingPublisher) -> list[Action]:
    return [event for event in published.events() if isinstance(event, Action)]


def test_a_rule_blocks_before_the_effect_and_says_which_it_was(published: RecordingPublisher, tmp_path: Path) -> None:
    target = tmp_path / "ledger.txt"
    no_ledger = rule("no-ledger", "block", action_type="file_write", resource__endswith="ledger.txt")
    with client(published, no_ledger) as vt, vt.monitor("a"):
        (tmp_path / "other.txt").write_text("fine")
        with pytest.raises(ActionBlockedError, match="The no-ledger rule"):
            target.write_text("x")
    assert not target.exists()
    blocked = actions(published)[-1]
    assert blocked.local.decision == "block"
    assert blocked.local.reasons == ("rule `no-ledger`: The no-ledger rule",)
    assert [e.status for e in published.events() if isinstance(e, Outcome)] == [OutcomeStatus.OK, OutcomeStatus.DENIED]


def test_the_payload_decides(published: RecordingPublisher) -> None:
    with client(
        published, rule("spend", "block", tool="pay", payload_amount__gt=100).replace("payload_", "payload.")
    ) as vt:
        m = vt.monitor("a", intercept=False)
        assert m.check("tool_call", "tool:pay", {"amount": 100}).decision is Decision.ALLOW
        verdict = m.check("tool_call", "tool:pay", {"amount": 101})
    assert (verdict.decision, verdict.rules) == (Decision.BLOCK, ("spend",))


def test_whom_a_rule_is_for(published: RecordingPublisher) -> None:
    with client(published, rule("interns", "block", "scope: {roles: [intern]}", action_type="custom")) as vt:
        intern = vt.monitor("a", labels={"role": "intern"}, intercept=False)
        boss = vt.monitor("b", labels={"role": "boss"}, intercept=False)
        assert intern.check("custom", "x").decision is Decision.BLOCK
        assert boss.check("custom", "x").decision is Decision.ALLOW


def test_no_rule_lifts_a_limit(published: RecordingPublisher) -> None:
    anything = rule("anything", "allow", "override: true", action_type="custom")
    blocking = rule("blocking", "block", action_type="custom")
    with client(published, anything, blocking, blocked_resources=["never"]) as vt:
        m = vt.monitor("a", intercept=False)
        assert m.check("custom", "some").decision is Decision.ALLOW
        assert m.check("custom", "never").decision is Decision.BLOCK


def test_an_exception_made_for_one_file_excuses_no_other(published: RecordingPublisher) -> None:
    """`rm /scratch/a /srv/b` reaches both: the rule's exception for one does not hold for the other."""
    text = rule("outside", "block", action_type="process_spawn", resource__startswith="/").replace(
        "  condition: selection", "  scratch: {resource|startswith: /scratch/}\n  condition: selection and not scratch"
    )
    with client(published, text) as vt:
        m = vt.monitor("a", intercept=False)
        for reached, decision in (
            (["/scratch/a"], Decision.ALLOW),
            (["/scratch/a", "/srv/b"], Decision.BLOCK),
            (["/srv/b", "/scratch/a"], Decision.BLOCK),
        ):
            verdict = m.check("process_spawn", "process:/bin/rm", {"argv": ["rm", *reached], "resources": reached})
            assert verdict.decision is decision


def test_a_rule_that_fails_denies(published: RecordingPublisher) -> None:
    numbers = rule("numbers", "alert", payload_n__gt=3).replace("payload_", "payload.")
    with client(published, numbers) as vt:
        verdict = vt.monitor("a", intercept=False).check("custom", "x", {"n": "many"})
    assert verdict.decision is Decision.BLOCK
    assert "rule `numbers`" in verdict.reasons[0]


def test_a_shadow_rule_shows_and_does_nothing(published: RecordingPublisher) -> None:
    with client(published, rule("watch", "kill", "mode: shadow", action_type="custom")) as vt:
        verdict = vt.monitor("a", intercept=False).check("custom", "x")
    assert (verdict.decision, verdict.rules, verdict.reasons) == (Decision.ALLOW, (), ("shadow rule `watch` matches",))


def test_a_rule_kills(published: RecordingPublisher, tmp_path: Path) -> None:
    reached = []
    with client(published, rule("trap", "kill", resource__endswith="honey.txt")) as vt:
        m = vt.monitor("a")
        with suppress(AgentKilledError), m:
            (tmp_path / "honey.txt").write_text("x")
            reached.append(1)
        assert m.state is AgentState.KILLED
    assert reached == []


# -- approvals ----------------------------------------------------------------------------------------------------


ASKS = rule("asks", "require_approval", action_type="tool_call", resource="tool:pay")


class Waiting:
    """An agent whose action waits on a thread of its own."""

    def __init__(self, vt: Vaultak, payload: dict[str, Any], agent_id: str = "a") -> None:
        self.monitor = vt.monitor(agent_id, intercept=False, session_id=f"s-{agent_id}")
        self.payload = payload
        self.ended: list[BaseException | str] = []
        self.thread = threading.Thread(target=self._act, daemon=True)
        self.thread.start()

    def _act(self) -> None:
        from vaultak.wire import ActionType

        try:
            self.ended.append(self.monitor.before(ActionType.TOOL_CALL, "tool:pay", self.payload))
        except BaseException as e:
            self.ended.append(e)

    def asked(self) -> str:
        """The id of the action, once it waits; empty when it went through."""
        agent, deadline = self.monitor._agent, time.monotonic() + 10
        while not self.ended and time.monotonic() < deadline:
            if waiting := agent._waiting.action_ids:
                return waiting[0]
            time.sleep(0.001)
        return ""

    def end(self) -> BaseException | str:
        self.thread.join(10)
        return self.ended[0]

    def passes(self) -> bool:
        """Whether the action went through without a person."""
        if action_id := self.asked():
            self.monitor.deny(action_id)
        return isinstance(self.end(), str)


def test_an_action_that_needs_approval_waits_alone(published: RecordingPublisher) -> None:
    with client(published, ASKS) as vt:
        waiting = Waiting(vt, {"amount": 1})
        action_id = waiting.asked()
        assert waiting.monitor.state is AgentState.RUNNING
        assert waiting.monitor.check("custom", "other").decision is Decision.ALLOW
        waiting.monitor.approve(action_id)
        assert waiting.end() == action_id


def test_a_denied_one_does_not_run(published: RecordingPublisher) -> None:
    with client(published, ASKS) as vt:
        waiting = Waiting(vt, {"amount": 1})
        waiting.monitor.deny(waiting.asked())
        assert isinstance(waiting.end(), ActionBlockedError)
    last = published.events()[-1]
    assert isinstance(last, Outcome)
    assert (last.status, last.error) == (OutcomeStatus.DENIED, "denied by an operator")


def test_a_time_out_is_recorded_as_one(published: RecordingPublisher) -> None:
    with client(published, ASKS, pause_timeout_s=0.05) as vt:
        assert isinstance(Waiting(vt, {"amount": 1}).end(), AgentPausedError)
    last = published.events()[-1]
    assert isinstance(last, Outcome)
    assert last.status is OutcomeStatus.PAUSED
    assert "nobody approved it for 0.05 s" in last.error


@pytest.mark.parametrize(
    ("scope", "payload", "passes"),
    [
        ("once", {"amount": 1}, False),
        ("session", {"amount": 1}, True),
        ("session", {"amount": 2}, False),
        ("pattern", {"amount": 2}, True),
    ],
)
def test_how_far_an_approval_reaches(
    published: RecordingPublisher, scope: str, payload: dict[str, Any], passes: bool
) -> None:
    with client(published, ASKS) as vt:
        first = Waiting(vt, {"amount": 1})
        first.monitor.approve(first.asked(), scope=scope)
        first.end()
        assert Waiting(vt, payload).passes() is passes
        assert not Waiting(vt, payload, "another-agent").passes()


def test_an_approval_expires(published: RecordingPublisher) -> None:
    with client(published, ASKS) as vt:
        first = Waiting(vt, {"amount": 1})
        first.monitor.approve(first.asked(), scope="pattern", for_s=0.0)
        first.end()
        assert not Waiting(vt, {"amount": 1}).passes()


# -- where rules come from ----------------------------------------------------------------------------------------


def test_a_bundle_file_is_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rules.json"
    path.write_bytes(msgspec.json.encode(bundle(rule("deny-x", "block", resource="x"))))
    monkeypatch.setenv("VAULTAK_POLICY", str(path))
    with Vaultak(publisher=RecordingPublisher(), rollback_limit=0, max_actions_per_minute=100) as vt:
        assert vt.monitor("a", intercept=False).check("custom", "x").decision is Decision.BLOCK
    with Vaultak(publisher=RecordingPublisher(), rollback_limit=0, rules=path) as vt:
        assert vt.monitor("a", intercept=False).check("custom", "x").decision is Decision.BLOCK


def test_rules_in_a_limit_s_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="name of a limit"):
        bundle(rule("blocked_resources", "alert", resource="x"))


def test_a_child_is_under_the_same_rules(published: RecordingPublisher, tmp_path: Path) -> None:
    target = tmp_path / "ledger.txt"
    code = f"open({str(target)!r}, 'w').write('x')"
    with client(published, rule("no-ledger", "block", resource__endswith="ledger.txt")) as vt, vt.monitor("a"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "The no-ledger rule" in done.stderr
    assert not target.exists()
