"""Rules as closures and as SQL: the same answers on a real ClickHouse, whatever the rules and the actions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.recorded import Recording, store_all
from vaultak import wire
from vaultak.policy.fields import Subject, fields_of
from vaultak.policy.rules import And, Bundle, CompiledRules, Enforce, Not, Occasion, Operator, Or, Rule, Scope, Test
from vaultak.policy.rules.tree import Day, Mode, Node, OnError, Window
from vaultak_streams.backtest.store import backtest_store
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.migrations import migrate

pytestmark = pytest.mark.stack

TEXTS = st.sampled_from(
    ["", "a", "A", "ab", "/srv/A.env", "/SRV/b.PEM", "tool:Send", "x\ny", "É", "ß", "10.1.2.3", "::ffff:10.1.2.3",
     "fe80::1", "010.1.2.3", "10.1.2", '"q"', "\\", "'; --", "{}", "null", "1", "true", "d" * 40, "a.b", "%", "_"]
)  # fmt: skip
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, 1.0, 1e18, -2.5, 2**40])
SCALARS = TEXTS | NUMBERS | st.booleans() | st.none()
PAYLOADS = st.dictionaries(
    st.sampled_from(["a", "b", "argv", 'k"y', "É"]),
    SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(st.sampled_from(["a", "b"]), SCALARS, max_size=2),
    max_size=4,
)
ACTIONS = st.fixed_dictionaries(
    {
        "action_type": st.sampled_from(["file_read", "tool_call", "custom"]),
        "resource": TEXTS,
        "payload": PAYLOADS,
        "labels": st.dictionaries(st.sampled_from(["role", "stage"]), st.sampled_from(["a", "A", "b"]), max_size=2),
        "agent_id": st.sampled_from(["one", "two"]),
        "risk": st.sampled_from([0.0, 0.1, 0.7, 1.0]),
        "factor": st.sampled_from([None, 0.0, 0.25, 0.7]),
        "minute": st.integers(0, 7 * 24 * 60),
    }
)
PAYLOAD_FIELDS = ["payload", "payload.a", "payload.b", "payload.argv", "payload.a.b", 'payload.k"y', "payload.É"]
FIELDS = st.sampled_from(
    ["action_type", "resource", "agent_id", "tool", "role", "labels.stage", "labels", "risk", "factors.rate",
     "assurance", "session.private_read", "local.decision", *PAYLOAD_FIELDS]
)  # fmt: skip
WORDS = st.sampled_from(
    ["a", "A", "B", "env", ".PEM", "send", "é", "ß", "x", "/srv/", "q", "'", "\\", "one", "file_read"]
)


def _values(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, min_size=1, max_size=4).map(tuple)


@st.composite
def _tests(draw: st.DrawFn) -> Test:
    op = draw(st.sampled_from(list(Operator)))
    match op:
        case Operator.EXISTS:
            values: tuple[Any, ...] = (draw(st.booleans()),)
        case Operator.FIELDREF:
            values = draw(_values(FIELDS))
        case Operator.RE:
            values = draw(_values(st.sampled_from(["a", "(?i)A|b", "^.$", "x.y", "\\d+", "É", "[^a]$", "env\\b"])))
        case Operator.CIDR:
            values = draw(_values(st.sampled_from(["10.0.0.0/8", "10.1.2.3", "fe80::/10", "::ffff:0:0/96"])))
        case Operator.LT | Operator.LTE | Operator.GT | Operator.GTE:
            values = draw(_values(NUMBERS))
        case Operator.EQUALS:
            values = draw(_values(SCALARS))
        case _:
            values = draw(_values(WORDS))
    return Test(draw(FIELDS), op, values, every=draw(st.booleans()))


CONDITIONS: st.SearchStrategy[Node] = st.recursive(
    _tests(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda nodes: And(tuple(nodes))),
        st.lists(inner, min_size=1, max_size=3).map(lambda nodes: Or(tuple(nodes))),
        inner.map(Not),
    ),
    max_leaves=6,
)
CLOCK = st.integers(0, 23 * 60 + 59).map(lambda m: f"{m // 60:02}:{m % 60:02}")
WINDOWS = st.builds(
    Window,
    days=st.lists(st.sampled_from(Day), unique=True, max_size=3).map(tuple),
    start=CLOCK,
    end=CLOCK,
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
).filter(lambda window: window.start != window.end)
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "condition": CONDITIONS,
            "enforce": st.sampled_from(Enforce),
            "mode": st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.SHADOW]),
            "on_error": st.sampled_from(OnError),
            "override": st.booleans(),
            "scope": st.builds(
                Scope,
                agents=st.sampled_from([(), (), ("one",)]),
                roles=st.sampled_from([(), (), ("a",)]),
                labels=st.sampled_from([{}, {}, {"stage": "b"}]),
            ),
        },
        optional={"active": st.lists(WINDOWS, min_size=1, max_size=2).map(tuple)},
    ),
    min_size=1,
    max_size=6,
).map(lambda rules: tuple(Rule(id=f"r{n}", title=f"rule {n}", **rule) for n, rule in enumerate(rules)))
MONDAY = dt.datetime(2026, 3, 23, tzinfo=dt.UTC)  # the week in which Berlin changes its clocks


@pytest.fixture(scope="module")
def stores(clickhouse: Any) -> Iterator[tuple[Store, Store]]:
    clickhouse.execute("CREATE DATABASE vaultak_rules_in_sql")
    migrate(clickhouse.dsn("admin", "vaultak_rules_in_sql"))
    with (
        connect(clickhouse.dsn("admin", "vaultak_rules_in_sql")) as admin,
        connect(clickhouse.dsn("viewer", "vaultak_rules_in_sql")) as viewer,
    ):
        yield admin, viewer
    clickhouse.execute("DROP DATABASE vaultak_rules_in_sql SYNC")


def _stored(admin: Store, actions: list[dict[str, Any]]) -> None:
    """Through the sink's own rows: events and verdicts apart, as they come."""
    recording = Recording(MONDAY)
    for n, action in enumerate(actions):
        ts = wire.format_ts((MONDAY + dt.timedelta(minutes=action["minute"])).timestamp())
        common = {"agent_id": action["agent_id"], "session_id": "s", "action_id": f"a{n}", "ts": ts}
        event = wire.Action(
            **common, schema_version=1, instance="i", seq=n, action_type=wire.ActionType(action["action_type"]),
            resource=action["resource"], payload=action["payload"], labels=action["labels"],
        )  # fmt: skip
        recording.add(recording.topics.actions, event, action["agent_id"])
        if n % 3:
            verdict = wire.Verdict(
                **common, scored_ts=ts, risk=action["risk"], factors=wire.Factors(rate=action["factor"]),
                explanation=(), decision=wire.Decision.ALLOW, rules=(), reasons=(), policy_version="p",
                model_version="m", baseline_events=n,
            )  # fmt: skip
            recording.add(recording.topics.verdicts, verdict, action["agent_id"])
    admin.command("TRUNCATE TABLE action_parts")
    store_all(admin, recording)


def _expected(bundle: Bundle, actions: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """How often each rule matched, and how often it failed."""
    rules = CompiledRules(bundle)
    matched, failed = [0] * len(bundle.rules), [0] * len(bundle.rules)
    position = {rule.id: n for n, rule in enumerate(bundle.rules)}
    for n, action in enumerate(actions):
        judged = n % 3 > 0
        more: dict[str, Any] = {"assurance": "", "local": {"decision": "", "risk": 0.0}, "factors": {}, "session": {}}
        if judged:
            more["risk"] = action["risk"]
            more["factors"] = {} if action["factor"] is None else {"rate": action["factor"]}
        subject = Subject(action["agent_id"], "s", action["labels"])
        fields = fields_of(subject, action["action_type"], action["resource"], action["payload"], more)
        at = MONDAY + dt.timedelta(minutes=action["minute"])
        verdict = rules.evaluate(fields, Occasion(at.timestamp()))
        for rule in (*verdict.rules, *verdict.shadow):
            matched[position[rule]] += 1
        for rule in verdict.failed:
            failed[position[rule]] += 1
    return matched, failed


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rules=RULES, actions=st.lists(ACTIONS, min_size=1, max_size=30))
def test_a_back_test_says_what_the_closures_say(
    stores: tuple[Store, Store], rules: tuple[Rule, ...], actions: list[dict[str, Any]]
) -> None:
    admin, viewer = stores
    bundle = Bundle(format=1, version="v", rules=rules)
    _stored(admin, actions)
    report = backtest_store(viewer, bundle)
    found = {rule.id: rule for rule in report.rules}
    matched, failed = _expected(bundle, actions)
    assert report.actions == len(actions)
    assert [found[rule.id].matched for rule in rules] == matched
    assert [found[rule.id].failed for rule in rules] == failed
