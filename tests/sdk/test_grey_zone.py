"""An action in the grey zone waits for the stream's verdict, so long and no longer, and the more severe one counts."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from vaultak import ActionBlockedError, ActionType, AgentPausedError, Vaultak
from vaultak.monitor import Monitor
from vaultak.policy.settings import KillSwitchMode, MissingVerdict, PolicySettings
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, Decision, Factors, Verdict, decode_event

PLAIN, GREY = "tool:get_weather", "tool:delete_everything"
Opinion = Callable[[Action], Verdict | None]


class Stream(RecordingPublisher):
    """Judges what is published, at once."""

    def __init__(self, opinion: Opinion) -> None:
        super().__init__()
        self.opinion = opinion
        self.hear: Callable[[Verdict], None] | None = None

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        event, _ = decode_event(value, now_us=None)
        if isinstance(event, Action) and self.hear is not None and (verdict := self.opinion(event)) is not None:
            self.hear(verdict)
        super().emit(topic, key, value, headers)


def verdict(action: Action, risk: float, decision: Decision) -> Verdict:
    return Verdict(
        action_id=action.action_id,
        agent_id=action.agent_id,
        session_id=action.session_id,
        ts=action.ts,
        scored_ts=action.ts,
        risk=risk,
        factors=Factors(),
        decision=decision,
        reasons=("the stream says so",),
    )


def monitored(opinion: Opinion, *, follows: bool = True, **more: object) -> Monitor:
    settings = PolicySettings(verdict_from_risk=0.2, max_risk_score=0.9, **more)  # type: ignore[arg-type]
    stream = Stream(opinion)
    m = Vaultak(publisher=stream, policy=settings, rollback_limit=0, pause_timeout_s=0).monitor("a", intercept=False)
    m._agent.hears_verdicts = follows
    stream.hear = m._agent.hear_verdict
    return m


def test_what_the_stream_allows_runs() -> None:
    m = monitored(lambda action: verdict(action, 0.1, Decision.ALLOW), verdict_timeout_ms=60_000)
    began = time.monotonic()
    with m:
        assert m.before(ActionType.TOOL_CALL, GREY, {})
    assert time.monotonic() - began < 30
    assert m._agent.opinions.missing == 0


def test_what_the_stream_blocks_does_not_run() -> None:
    m = monitored(lambda action: verdict(action, 0.8, Decision.BLOCK), verdict_timeout_ms=60_000)
    with m, pytest.raises(ActionBlockedError, match="the stream says so"):
        m.before(ActionType.TOOL_CALL, GREY, {})


async def test_a_task_waits_too_and_is_paused() -> None:
    m = monitored(lambda action: verdict(action, 0.8, Decision.PAUSE), verdict_timeout_ms=60_000)
    async with m:
        with pytest.raises(AgentPausedError):
            await m.before_async(ActionType.TOOL_CALL, GREY, {})


def test_the_stream_lifts_no_local_verdict() -> None:
    m = monitored(lambda action: verdict(action, 0.0, Decision.ALLOW), blocked_resources=(GREY,))
    with m, pytest.raises(ActionBlockedError):
        m.before(ActionType.TOOL_CALL, GREY, {})


def test_the_own_limit_counts_for_the_risk_of_the_stream() -> None:
    m = monitored(lambda action: verdict(action, 0.95, Decision.ALERT), mode=KillSwitchMode.BLOCK)
    with m, pytest.raises(ActionBlockedError, match="max_risk_score"):
        m.before(ActionType.TOOL_CALL, GREY, {})


def test_below_the_grey_zone_nothing_waits() -> None:
    m = monitored(lambda action: None, verdict_timeout_ms=600_000, missing_verdict=MissingVerdict.BLOCK)
    with m:
        assert m.before(ActionType.TOOL_CALL, PLAIN, {})
        assert m.check(ActionType.TOOL_CALL, GREY).decision is Decision.ALERT, "`check` never waits"


@pytest.mark.parametrize("follows", [True, False])
def test_without_a_verdict_it_fails_open_by_default(follows: bool) -> None:
    m = monitored(lambda action: None, follows=follows, verdict_timeout_ms=20)
    with m:
        assert m.before(ActionType.TOOL_CALL, GREY, {})
    assert m._agent.opinions.missing == 1


@pytest.mark.parametrize("follows", [True, False])
def test_without_a_verdict_it_fails_closed_where_the_policy_says_so(follows: bool) -> None:
    m = monitored(lambda action: None, follows=follows, verdict_timeout_ms=20, missing_verdict=MissingVerdict.BLOCK)
    with m, pytest.raises(ActionBlockedError, match="no verdict of the stream within 20 ms"):
        m.before(ActionType.TOOL_CALL, GREY, {})


def test_a_policy_without_a_grey_zone_keeps_its_version() -> None:
    assert PolicySettings(verdict_timeout_ms=5).version == PolicySettings().version
    assert PolicySettings(verdict_from_risk=0.3).version != PolicySettings().version
    assert PolicySettings().version == "p-895919b3c2c9"
