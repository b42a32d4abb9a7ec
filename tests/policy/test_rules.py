"""A policy of rules: who wins, what an unreadable field does, what is refused, and that the index loses no rule."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak.errors import PolicyError
from vaultak.policy.rules import (
    And,
    Bundle,
    CompiledRules,
    Enforce,
    Mode,
    Not,
    OnError,
    Operator,
    Or,
    Rule,
    Scope,
    Test,
    decode_bundle,
)
from vaultak.policy.rules.tree import Node
from vaultak.wire import Decision


def rule(name: str, condition: Node, enforce: Enforce = Enforce.BLOCK, **more: Any) -> Rule:
    return Rule(id=name, title=f"title of {name}", condition=condition, enforce=enforce, **more)


def compiled(*rules: Rule) -> CompiledRules:
    return CompiledRules(Bundle(format=1, version="v1", rules=rules))


DELETES = Test("action_type", Operator.EQUALS, ("file_delete",))
IN_TMP = Test("resource", Operator.STARTSWITH, ("/tmp/",))
COSTLY = Test("payload.amount", Operator.GT, (100,))
DELETE_IN_TMP = {"action_type": "file_delete", "resource": "/TMP/x"}


def test_the_most_severe_matching_rule_wins_and_all_that_match_are_named() -> None:
    verdict = compiled(rule("a", DELETES, Enforce.ALERT), rule("b", IN_TMP, Enforce.KILL)).evaluate(DELETE_IN_TMP)
    assert (verdict.decision, verdict.rules) == (Decision.KILL, ("a", "b"))
    assert verdict.reasons == ("title of a", "title of b")


@pytest.mark.parametrize(("override", "decision"), [(False, Decision.BLOCK), (True, Decision.ALLOW)])
def test_an_allow_lifts_a_block_only_with_override(override: bool, decision: Decision) -> None:
    rules = compiled(rule("no", DELETES), rule("yes", IN_TMP, Enforce.ALLOW, override=override))
    assert rules.evaluate(DELETE_IN_TMP).decision is decision


@pytest.mark.parametrize(("on_error", "decision"), [(OnError.DENY, Decision.BLOCK), (OnError.ALLOW, Decision.ALERT)])
@pytest.mark.parametrize("enforce", [Enforce.ALLOW, Enforce.ALERT])
def test_a_rule_that_cannot_be_evaluated_is_never_a_silent_allow(
    on_error: OnError, decision: Decision, enforce: Enforce
) -> None:
    rules = compiled(rule("yes", DELETES, Enforce.ALLOW, override=True), rule("r", COSTLY, enforce, on_error=on_error))
    verdict = rules.evaluate({**DELETE_IN_TMP, "payload": {"amount": "lots"}})
    assert verdict.decision is decision
    assert verdict.errors == ("rule `r`: `payload.amount` is str, not a number",)


def test_text_that_no_regex_can_read_is_an_error_of_the_rule() -> None:
    verdict = compiled(rule("r", Test("resource", Operator.RE, ("x",)))).evaluate({"resource": "\ud800"})
    assert (verdict.decision, len(verdict.errors)) == (Decision.BLOCK, 1)


def test_a_shadow_rule_reports_and_decides_nothing() -> None:
    verdict = compiled(rule("s", DELETES, Enforce.KILL, mode=Mode.SHADOW)).evaluate(DELETE_IN_TMP)
    assert (verdict.decision, verdict.rules, verdict.shadow) == (Decision.ALLOW, (), ("s",))


def test_a_factor_that_is_not_ready_matches_no_threshold() -> None:
    rules = compiled(rule("r", Test("risk", Operator.LTE, (1,))))
    assert rules.evaluate({"risk": None}) == rules.evaluate({})
    assert rules.evaluate({"risk": None}).decision is Decision.ALLOW


def test_approval_is_asked_for_only_where_nothing_plainly_pauses() -> None:
    ask = rule("ask", DELETES, Enforce.REQUIRE_APPROVAL)
    assert compiled(ask).evaluate(DELETE_IN_TMP).approval
    assert not compiled(ask, rule("p", IN_TMP, Enforce.PAUSE)).evaluate(DELETE_IN_TMP).approval


def test_a_rule_is_for_its_scope() -> None:
    rules = compiled(rule("r", DELETES, scope=Scope(agents=("a",), labels={"env": "prod"})))
    assert rules.evaluate({**DELETE_IN_TMP, "agent_id": "a", "labels": {"env": "prod"}}).rules == ("r",)
    assert rules.evaluate({**DELETE_IN_TMP, "agent_id": "b", "labels": {"env": "prod"}}).rules == ()
    assert rules.evaluate({**DELETE_IN_TMP, "agent_id": "a"}).rules == ()


def deep(levels: int) -> Node:
    node: Node = DELETES
    for _ in range(levels):
        node = Not(node)
    return node


@pytest.mark.parametrize(
    "condition",
    [
        deep(40),
        And((DELETES,) * 3000),
        Test("resource", Operator.RE, ("a" * 2000,)),
        Test("resource", Operator.RE, ("((a{1,999}){1,999}){1,999}",)),
        Test("resource", Operator.RE, ("(",)),
        Test("resource", Operator.CONTAINS, ("",)),
        Test("host", Operator.CIDR, ("10.0.0.0/99",)),
        Test("risk", Operator.GT, ("high",)),
        Test("risk", Operator.GT, (float("nan"),)),
        Test("risk", Operator.EXISTS, ("yes",)),
    ],
)
def test_what_is_too_costly_or_not_well_formed_is_refused(condition: Node) -> None:
    with pytest.raises(PolicyError, match="rule `r`"):
        compiled(rule("r", condition))


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b'{"format":1,"version":"v","rules":[],"more":1}'])
def test_what_is_not_a_bundle_is_refused(text: bytes) -> None:
    with pytest.raises(PolicyError):
        decode_bundle(text)


def test_a_bundle_nested_without_end_is_refused() -> None:
    nested = b'{"type":"not","node":' * 100_000
    head = b'{"format":1,"version":"v","rules":[{"id":"r","title":"t","enforce":"block","condition":'
    with pytest.raises(PolicyError):
        decode_bundle(head + nested)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bundle_or_a_policy_error(text: bytes) -> None:
    with contextlib.suppress(PolicyError):
        decode_bundle(text)


TEXTS = st.sampled_from(["/tmp/", "/tmp/a", "/TMP/a/b", "file_read", "file_delete", "mail", "Mail", "/"])
TESTS = st.builds(
    Test,
    st.sampled_from(["resource", "tool", "action_type", "payload.sql"]),
    st.sampled_from([Operator.EQUALS, Operator.STARTSWITH, Operator.CONTAINS, Operator.ENDSWITH]),
    st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
    st.booleans(),
)
CONDITIONS: st.SearchStrategy[Node] = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda nodes: And(tuple(nodes))),
        st.lists(inner, min_size=1, max_size=3).map(lambda nodes: Or(tuple(nodes))),
        inner.map(Not),
    ),
    max_leaves=6,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.one_of(TEXTS, st.lists(TEXTS, max_size=2)) for name in ("resource", "tool", "action_type")},
        "payload": st.fixed_dictionaries({"sql": TEXTS}),
    },
)


@given(st.lists(CONDITIONS, min_size=1, max_size=8), FIELDS)
def test_the_index_loses_no_rule(conditions: list[Node], fields: dict[str, Any]) -> None:
    together = compiled(*(rule(str(n), condition) for n, condition in enumerate(conditions)))
    alone = [n for n, condition in enumerate(conditions) if _matches_behind_a_shield(condition, fields)]
    assert together.evaluate(fields).rules == tuple(map(str, alone))


def _matches_behind_a_shield(condition: Node, fields: dict[str, Any]) -> bool:
    """Twice negated, a condition demands nothing: it is a candidate for every action."""
    return bool(compiled(rule("alone", Not(Not(condition)))).evaluate(fields).rules)


@given(CONDITIONS)
def test_a_bundle_survives_its_json(condition: Node) -> None:
    bundle = Bundle(format=1, version="v", rules=(rule("r", condition),))
    assert decode_bundle(msgspec.json.encode(bundle)) == bundle
