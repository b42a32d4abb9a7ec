"""Where an agent stands: epochs order commands, the minute slides, rulings are remembered within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vaultak import ActionType, Decision, KillSwitchMode, PolicySettings
from vaultak.guard import STATE_RULE, Guard
from vaultak.policy import CompiledPolicy
from vaultak.wire import AgentState, CommandType

READ = ActionType.FILE_READ
_STATE = {
    CommandType.PAUSE: AgentState.PAUSED,
    CommandType.RESUME: AgentState.RUNNING,
    CommandType.KILL: AgentState.KILLED,
}


def guard(**limits: object) -> Guard:
    return Guard(CompiledPolicy(PolicySettings(**limits)))  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from(list(_STATE)), st.integers(1, 6)), max_size=30))
def test_the_highest_epoch_wins_in_whatever_order_commands_come(commands: list[tuple[CommandType, int]]) -> None:
    g = guard()
    highest, state = 0, AgentState.RUNNING
    for command, epoch in commands:
        applied = g.command(command, epoch)
        assert applied == (epoch > highest)
        if applied:
            highest, state = epoch, _STATE[command]
        assert (g.state, g.epoch) == (state, highest)


def test_a_paused_agent_waits_and_a_killed_one_is_done() -> None:
    g = guard(blocked_resources=("*.env",))
    g.command(CommandType.PAUSE, 1, "look")
    verdict = g.judge(READ, "/tmp/x", 0.0)
    assert (verdict.decision, verdict.rules[0]) == (Decision.PAUSE, STATE_RULE)
    assert "look" in verdict.reasons[0]
    assert g.judge(READ, "/tmp/.env", 0.0).decision is Decision.BLOCK
    g.command(CommandType.KILL, 2)
    assert g.judge(READ, "/tmp/.env", 0.0).decision is Decision.KILL


@given(st.lists(st.floats(0.0, 30.0), max_size=80), st.integers(1, 5))
def test_the_rate_counts_the_last_minute_and_holds_little(gaps: list[float], limit: int) -> None:
    g = guard(max_actions_per_minute=limit, mode=KillSwitchMode.BLOCK, max_risk_score=1.0)
    times: list[float] = []
    now = 0.0
    for gap in gaps:
        now += gap
        times.append(now)
        within = sum(t > now - 60 for t in times)
        assert (g.judge(READ, "/tmp/x", now).decision is Decision.BLOCK) == (within > limit)
        assert len(g._recent) <= limit + 1


def test_a_resume_begins_a_new_minute() -> None:
    g = guard(max_actions_per_minute=1)
    assert [g.judge(READ, "/tmp/x", 0.0).decision for _ in range(2)] == [Decision.ALLOW, Decision.PAUSE]
    g.command(CommandType.RESUME, 1)
    assert g.judge(READ, "/tmp/x", 1.0).decision is Decision.ALLOW


def test_rulings_are_bounded() -> None:
    g = guard()
    for n in range(5000):
        g.rule(str(n), allow=n % 2 == 0)
    assert (g.ruling("4999"), g.ruling("4998"), g.ruling("0")) == (False, True, None)
