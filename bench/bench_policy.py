"""What a bundle of rules costs: loading it, and one decision, at 10, 100 and 1,000 rules, beside Casbin's enforcer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from bench.timing import Sample, say, table, time_each
from vaultak.policy.rules import And, Bundle, CompiledRules, Enforce, Operator, Or, Rule, Test, decode_bundle

SIZES = (10, 100, 1000)
LOADS = 15


def bundle(size: int, distinct: bool) -> Bundle:
    """`distinct`: each rule has a tool or prefix of its own; else none demands anything that the index knows."""
    return Bundle(format=1, version="bench", rules=tuple(_rule(n, distinct) for n in range(size)))


def _rule(n: int, distinct: bool) -> Rule:
    where = (
        Test("tool", Operator.EQUALS, (f"tool_{n}",))
        if n % 2
        else Test("resource", Operator.STARTSWITH, (f"/srv/{n:06d}/",))
    )
    if not distinct:
        where = Test("resource", Operator.CONTAINS, (f"/{n:06d}/",))
    what = Or((Test("payload.sql", Operator.RE, (rf"(?i)drop\s+table\s+t{n}",)), Test("risk", Operator.GTE, (0.9,))))
    return Rule(id=f"r{n}", title="a rule of the bench", condition=And((where, what)), enforce=Enforce.BLOCK)


def _fields(last: int) -> dict[str, Any]:
    """An action that the last rule alone matches."""
    return {
        "action_type": "tool_call", "tool": f"tool_{last}", "resource": f"/srv/{last:06d}/x",
        "payload": {"sql": f"DROP TABLE t{last}"}, "risk": 0.2,
    }  # fmt: skip


def _decisions(size: int, distinct: bool) -> list[Sample]:
    rules = CompiledRules(bundle(size, distinct))
    fields = _fields(size - 1)
    other = {**fields, "tool": "another", "resource": "/home/x"}
    assert rules.evaluate(fields).rules == (f"r{size - 1}",)
    assert rules.evaluate(other).rules == ()
    n = 20_000 if distinct else 1_000
    kind = "indexed" if distinct else "not indexed"
    return [
        time_each(f"{size} rules, {kind}, the last one matches", lambda: rules.evaluate(fields), n),
        time_each(f"{size} rules, {kind}, none matches", lambda: rules.evaluate(other), n),
    ]


def _load(size: int) -> Sample:
    values = []
    for k in range(LOADS):
        text = msgspec.json.encode(bundle(size, True)).replace(b"drop", b"drop%d" % k)  # no expression is known already
        started = time.perf_counter_ns()
        CompiledRules(decode_bundle(text))
        values.append((time.perf_counter_ns() - started) / 1e3)
    return Sample(f"{size} rules", sorted(values))


MODEL = """
[request_definition]
r = tool, resource
[policy_definition]
p = tool, resource, eft
[policy_effect]
e = !some(where (p.eft == deny))
[matchers]
m = (p.tool == "*" || r.tool == p.tool) && keyMatch(r.resource, p.resource)
"""


def _casbin(size: int) -> Callable[[], object] | None:
    """The same demands for tool or prefix as a Casbin policy; it has no payloads, risks or regular expressions here."""
    try:
        import casbin
    except ImportError:
        return None
    model = casbin.Model()
    model.load_model_from_text(MODEL)
    enforcer = casbin.Enforcer(model)
    enforcer.add_policies(
        [[f"tool_{n}", "*", "deny"] if n % 2 else ["*", f"/srv/{n:06d}/*", "deny"] for n in range(size)]
    )
    fields = _fields(size - 1)
    assert enforcer.enforce(fields["tool"], fields["resource"]) is False
    return lambda: enforcer.enforce(fields["tool"], fields["resource"])


def main() -> None:
    for size in SIZES:
        samples = _decisions(size, True) + _decisions(size, False)
        peer = _casbin(size)
        if peer is None:
            say("beside Casbin where it is installed: `pip install casbin`")
        else:
            samples.append(time_each(f"{size} rules, Casbin", peer, 50, warmup=3))
        table(f"policy: one decision, {size} rules", HEADER, _rows(samples))
    table("policy: loading a bundle", HEADER, _rows([_load(size) for size in SIZES]))


HEADER = ("operation", "p50 us", "p95 us", "p99 us", "x first")


def _rows(samples: list[Sample]) -> list[tuple[object, ...]]:
    first = samples[0].median
    return [(s.name, *(f"{s.percentile(p):,.1f}" for p in (50, 95, 99)), f"{s.median / first:.2f}") for s in samples]
