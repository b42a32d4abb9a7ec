"""What an agent takes away it has looked at before; when it has not, somebody else chose it."""

from __future__ import annotations

import pytest
from tests.models.acting import Script

from vaultak_models.engine import Assessment, RiskEngine
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile


def clerk(sessions: int = 60, *, looks: float = 1.0, verb: str = "cancel") -> Script:
    """Looks bookings up, and takes some of them away; in a share of the sessions without having looked."""
    script = Script("clerk", step_s=30)
    for n in range(sessions):
        script.session_id = f"s-{n}"
        script.act("tool_call", "tool:get_booking", booking=f"B{n:04}X")
        if n >= looks * sessions:
            script.act("tool_call", f"tool:{verb}_booking", booking=f"C{n:04}Y")
        elif n % 2:
            script.act("tool_call", f"tool:{verb}_booking", booking=f"B{n:04}X")
        script.wait(600)
    script.session_id = "today"
    return script


def last(script: Script) -> Assessment:
    profiles: dict[str, AgentProfile] = {}
    found = RiskEngine(RiskModel.load()).judge(script.events, profiles)[-1]
    assert found is not None
    return found


@pytest.mark.parametrize("verb", ["cancel", "delete", "revoke"])
def test_the_first_of_a_series_is_stopped(verb: str) -> None:
    script = clerk(verb=verb)
    script.act("tool_call", "tool:get_booking", booking="B9999X")
    script.act("tool_call", f"tool:{verb}_booking", booking="Q1234Z")
    found = last(script)
    assert found.risk >= 0.7
    assert "takes away what nobody named in this session" in [reason.value for reason in found.explanation]


def test_so_is_every_further_one_for_days() -> None:
    script = clerk(sessions=400)
    for n in range(30):
        script.session_id = f"attack-{n // 6}"
        script.act("tool_call", "tool:cancel_booking", booking=f"Q{n:04}Z")
        script.wait(4 * 3600)
    assert last(script).risk >= 0.7


@pytest.mark.parametrize(
    "said", ["it was looked up", "the user said it", "it often does so", "it takes nothing away", "it is new to it"]
)
def test_else_it_is_not(said: str) -> None:
    verb = "update" if said == "it takes nothing away" else "cancel"
    script = clerk(12 if said == "it is new to it" else 60, looks=0.8 if said == "it often does so" else 1.0, verb=verb)
    if said == "it was looked up":
        script.act("tool_call", "tool:get_booking", booking="Q1234Z")
    if said == "the user said it":
        script.asked("please cancel Q1234Z")
    script.act("tool_call", f"tool:{verb}_booking", booking="Q1234Z")
    assert last(script).risk < 0.7
