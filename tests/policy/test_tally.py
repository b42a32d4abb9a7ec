"""How often a rule was met: exact windows, bounded memory, and time that misbehaves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak.errors import PolicyError
from vaultak.policy.rules import Bundle, CompiledRules, Enforce, Occasion, Operator, Rate, Rule, Tally, Test, Window
from vaultak.policy.rules.conditions import ConditionError
from vaultak.policy.rules.tally import MAX_GROUPS_PER_RULE, MAX_TIMES_PER_RULE, capacity, compile_key
from vaultak.policy.rules.tree import MAX_RATED_RULES

SECOND_US = 1_000_000
RATES = st.builds(Rate, st.integers(1, 6), st.integers(1, 60), st.sampled_from([(), ("resource",)]))
TIMES = st.lists(st.integers(-(2**50), 2**50) | st.integers(0, 200 * SECOND_US), max_size=40)
MAIL = Test("tool", Operator.EQUALS, ("mail",))


def keys(tally: Tally) -> int:
    return sum(map(len, tally.rules.values()))


def held(tally: Tally) -> int:
    return sum(len(times) // 8 for groups in tally.rules.values() for times in groups.values())


@given(RATES, TIMES)
def test_times_that_rise_are_counted_exactly(rate: Rate, times: list[int]) -> None:
    tally = Tally()
    for n, now in enumerate(rising := sorted(times)):
        within = sum(now - rate.window_s * SECOND_US < time <= now for time in rising[: n + 1])
        assert tally.add("r", rate, b"", now) is (within > rate.count)
        assert held(tally) <= rate.count


@given(RATES, TIMES)
def test_whatever_time_does_a_window_never_counts_more_than_it_saw_nor_misses_one(rate: Rate, times: list[int]) -> None:
    tally = Tally()
    for n, now in enumerate(times):
        since = now - rate.window_s * SECOND_US
        at_most = 1 + sum(time > since for time in times[:n])
        at_least = 1 + sum(since < time <= now for time in times[:n])
        exceeded = tally.add("r", rate, b"", now)
        assert not exceeded or at_most > rate.count
        assert exceeded or at_least <= rate.count


@given(st.integers(1, 1000), st.lists(st.integers(0, 5000), max_size=300))
def test_groups_of_a_rule_are_bounded_and_what_makes_room_is_counted(count: int, values: list[int]) -> None:
    tally, rate = Tally(), Rate(count, 3600, ("resource",))
    for n, value in enumerate(values):
        tally.add("r", rate, value.to_bytes(2, "big"), n)
    room = capacity(rate)
    assert keys(tally) == min(room, len(set(values)))
    assert held(tally) <= MAX_TIMES_PER_RULE
    assert room <= MAX_GROUPS_PER_RULE
    assert tally.forgotten >= len(set(values)) - room
    newest = list(dict.fromkeys(reversed(values)))[:room]
    assert set(tally.rules.get("r", {})) == {value.to_bytes(2, "big") for value in newest}


def test_one_rule_s_groups_push_out_no_other_rule_s() -> None:
    tally = Tally()
    tally.add("deletes", Rate(1, 3600), b"", 0)
    for n in range(3000):
        tally.add("reads", Rate(10, 3600, ("resource",)), n.to_bytes(2, "big"), n)
    assert tally.forgotten > 0
    assert tally.add("deletes", Rate(1, 3600), b"", 4000)


def test_what_makes_room_after_its_window_is_no_loss() -> None:
    tally = Tally()
    for n in range(1000):
        tally.add("r", Rate(100, 1, ("resource",)), n.to_bytes(2, "big"), n * SECOND_US)
    assert tally.forgotten == 0


def test_rules_of_policies_that_are_gone_make_room() -> None:
    tally = Tally()
    for n in range(1000):
        tally.add(f"r{n}", Rate(1, 60), b"", 0)
    assert list(tally.rules) == [f"r{n}" for n in range(1000 - MAX_RATED_RULES, 1000)]


def test_an_agent_takes_little_memory_at_the_very_most() -> None:
    tally = Tally()
    for rule in range(40):
        for group in range(300):
            for time in range(8):
                tally.add(f"r{rule}", Rate(8, 60, ("x",)), group.to_bytes(12, "big"), 2**50 + time)
    assert len(msgspec.msgpack.encode(tally)) < 700 * 1024


@given(RATES, TIMES)
def test_what_was_counted_survives_its_bytes(rate: Rate, times: list[int]) -> None:
    tally, restored = Tally(), Tally()
    for now in times:
        restored = msgspec.msgpack.decode(msgspec.msgpack.encode(restored), type=Tally)
        assert restored.add("r", rate, b"k", now) is tally.add("r", rate, b"k", now)
    assert restored == tally


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.text(max_size=2), max_size=2)


@given(st.tuples(VALUES, VALUES), st.tuples(VALUES, VALUES))
def test_groups_are_told_apart_by_their_values(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    key = compile_key(Rate(1, 1, ("a", "b.c")))
    same = [_folded(value) for value in one] == [_folded(value) for value in other]
    assert (key(_fields(*one)) == key(_fields(*other))) is same


def _fields(a: Any, c: Any) -> dict[str, Any]:
    return {"a": a, "b": {"c": c}}


def _folded(value: Any) -> tuple[type, Any]:
    return type(value), value.lower() if isinstance(value, str) else value


def test_any_file_name_can_be_counted_by_but_no_object() -> None:
    key = compile_key(Rate(1, 1, ("x",)))
    assert key({"x": "\udcff"}) != key({"x": "\udcfe"})
    with pytest.raises(ConditionError, match="`x` is object"):
        key({"x": object()})


def compiled(*rules: Rule) -> CompiledRules:
    return CompiledRules(Bundle(format=1, version="v", rules=rules))


def often(name: str = "r", count: int = 1, by: tuple[str, ...] = ()) -> Rule:
    return Rule(id=name, title="t", condition=MAIL, enforce=Enforce.BLOCK, rate=Rate(count, 60, by))


def test_an_action_counts_once_whatever_it_reaches() -> None:
    rules, tally = compiled(often()), Tally()
    occasion = Occasion(0.0, tally)
    assert [rules.evaluate({"tool": "mail", "resource": at}, occasion).rules for at in "abc"] == [()] * 3
    assert rules.evaluate({"tool": "mail"}, Occasion(1.0, tally)).rules == ("r",)


def test_a_policy_that_is_swapped_in_counts_on() -> None:
    tally = Tally()
    compiled(often(), often("gone")).evaluate({"tool": "mail"}, Occasion(0.0, tally))
    swapped = compiled(often("new"), often())
    assert swapped.evaluate({"tool": "mail"}, Occasion(1.0, tally)).rules == ("r",)
    stricter, laxer = compiled(often()), compiled(often(count=5))
    assert laxer.evaluate({"tool": "mail"}, Occasion(2.0, tally)).rules == ()
    assert stricter.evaluate({"tool": "mail"}, Occasion(3.0, tally)).rules == ("r",)


def test_without_a_tally_nothing_is_counted_or_exceeded() -> None:
    assert [compiled(often()).evaluate({"tool": "mail"}, Occasion(0.0)).rules for _ in range(3)] == [()] * 3


def test_a_bundle_has_so_many_rates_and_no_hours_that_cannot_be() -> None:
    assert compiled(*(often(str(n)) for n in range(MAX_RATED_RULES))).is_pure is False
    with pytest.raises(PolicyError, match="more than 32 rules with a `rate`"):
        compiled(*(often(str(n)) for n in range(MAX_RATED_RULES + 1)))
    hours = msgspec.structs.replace(often(), active=(Window(zone="Mars"),))
    with pytest.raises(PolicyError, match=r"rule `r`: there is no time zone `Mars` - at `\$\.active\[0\]\.zone`"):
        compiled(hours)


def test_a_time_that_no_calendar_has_is_an_error_of_the_rule() -> None:
    rule = Rule(id="r", title="t", condition=MAIL, enforce=Enforce.ALLOW, active=(Window(),))
    verdict = compiled(rule).evaluate({"tool": "mail"}, Occasion(1e18, Tally()))
    assert (verdict.decision, verdict.failed) == ("block", ("r",))


def test_rules_without_times_travel_as_they_did() -> None:
    """Agents of an older version read them; a `rate`, which they would not keep to, they refuse."""
    rule = Rule(id="r", title="t", condition=MAIL, enforce=Enforce.BLOCK)
    assert {"rate", "active"}.isdisjoint(msgspec.json.decode(msgspec.json.encode(rule)))
    assert compiled(rule).is_pure
