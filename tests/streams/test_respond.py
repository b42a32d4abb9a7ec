"""What a decision leads to: which commands, how often, and that they can be told apart and ordered."""

from __future__ import annotations

import pytest

from vaultak.wire import AgentState, CommandType, Decision, Factors, Verdict, decode_command, encode, parse_ts_us
from vaultak_streams.pipeline.ledger import Ledger
from vaultak_streams.respond import RESPONSES, Case, Order, respond
from vaultak_streams.respond.issue import COMMAND_LIFETIME_US, REPEAT_US

NOW_US = 1_790_000_000_000_000


def case(decision: Decision, *, now_us: int = NOW_US, action: str = "act-1") -> Case:
    verdict = Verdict(
        action_id=action,
        agent_id="bot",
        session_id="s",
        ts="2026-09-21T14:13:20.000000Z",
        scored_ts="2026-09-21T14:13:20.000000Z",
        risk=0.9,
        factors=Factors(),
        decision=decision,
    )
    return Case(verdict, "too risky", "incident-1", "vaultak", NOW_US, now_us, f"digest-{action}")


def orders(decision: Decision, ledger: Ledger | None = None, **options: object) -> list[Order]:
    return respond(case(decision, **options), Ledger() if ledger is None else ledger)[0]  # type: ignore[arg-type]


EXPECTED = {
    Decision.ALLOW: [],
    Decision.ALERT: [],
    Decision.PAUSE: [(CommandType.PAUSE, AgentState.PAUSED)],
    Decision.BLOCK: [(CommandType.DENY, None)],
    Decision.ROLLBACK: [(CommandType.PAUSE, AgentState.PAUSED), (CommandType.ROLLBACK, None)],
    Decision.KILL: [(CommandType.KILL, AgentState.KILLED)],
}


@pytest.mark.parametrize("decision", list(Decision))
def test_each_decision_has_its_commands(decision: Decision) -> None:
    given = orders(decision)
    assert [(order.command.command, order.state) for order in given] == EXPECTED[decision]
    assert set(RESPONSES) == {d for d, expected in EXPECTED.items() if expected}


@pytest.mark.parametrize("decision", sorted(RESPONSES))
def test_a_command_is_complete_but_for_its_signature(decision: Decision) -> None:
    for order in orders(decision):
        command = order.command
        assert decode_command(encode(command)) == command
        assert (command.agent_id, command.action_id, command.incident_id) == ("bot", "act-1", "incident-1")
        assert (command.reason, command.issued_by, command.signature) == ("too risky", "vaultak", "")
        assert parse_ts_us(command.expires_at) - parse_ts_us(command.ts) == COMMAND_LIFETIME_US


def test_the_same_event_gives_the_same_ids_and_another_does_not() -> None:
    first, again = orders(Decision.ROLLBACK), orders(Decision.ROLLBACK, now_us=NOW_US + 5)
    other = orders(Decision.ROLLBACK, action="act-2")
    ids = [order.command.command_id for order in first]
    assert ids == [order.command.command_id for order in again]
    assert len({*ids, *(order.command.command_id for order in other)}) == 4


def test_state_commands_rise_even_when_the_clock_does_not() -> None:
    ledger = Ledger()
    epochs = [
        orders(decision, ledger, now_us=now_us)[0].command.epoch
        for decision, now_us in ((Decision.PAUSE, NOW_US), (Decision.KILL, NOW_US), (Decision.PAUSE, NOW_US - 10**9))
    ]
    assert epochs == [NOW_US, NOW_US + 1, NOW_US + 2]


def test_a_repeat_within_a_second_is_left_out_and_later_it_is_given_again() -> None:
    ledger = Ledger()
    assert len(orders(Decision.PAUSE, ledger)) == 1
    assert respond(case(Decision.PAUSE, now_us=NOW_US + REPEAT_US - 1, action="act-2"), ledger) == ([], 1)
    assert len(orders(Decision.PAUSE, ledger, now_us=NOW_US + REPEAT_US)) == 1
    assert len(orders(Decision.KILL, ledger, now_us=NOW_US + REPEAT_US + 1)) == 1


def test_what_concerns_one_action_is_never_left_out() -> None:
    ledger = Ledger()
    for n in range(3):
        assert [o.command.command for o in orders(Decision.BLOCK, ledger, action=f"a{n}")] == [CommandType.DENY]
    assert [o.command.command for o in orders(Decision.ROLLBACK, ledger, action="a4")] == [
        CommandType.PAUSE,
        CommandType.ROLLBACK,
    ]
    assert [o.command.command for o in orders(Decision.ROLLBACK, ledger, action="a5")] == [CommandType.ROLLBACK]
