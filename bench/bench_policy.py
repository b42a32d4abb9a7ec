"""What a bundle of rules costs: loading it, and one decision, at 10, 100 and 1,000 rules."""

from __future__ import annotations

import sys
import time

import msgspec

from vaultak.policy.rules import And, Bundle, CompiledRules, Enforce, Operator, Or, Rule, Test, decode_bundle

DECISIONS = 20_000


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


def measure(size: int, distinct: bool) -> tuple[float, float, float]:
    """Load in ms, then p50 and p99 of a decision in us; the last rule is the one that matches."""
    text = msgspec.json.encode(bundle(size, distinct))
    started = time.perf_counter_ns()
    rules = CompiledRules(decode_bundle(text))
    load_ms = (time.perf_counter_ns() - started) / 1e6
    last = size - 1
    fields = {
        "action_type": "tool_call",
        "tool": f"tool_{last}",
        "resource": f"/srv/{last:06d}/x",
        "payload": {"sql": f"DROP TABLE t{last}"},
        "risk": 0.2,
    }
    assert rules.evaluate(fields).rules == (f"r{last}",)
    taken = []
    for _ in range(DECISIONS if distinct else DECISIONS // 20):
        started = time.perf_counter_ns()
        rules.evaluate(fields)
        taken.append((time.perf_counter_ns() - started) / 1e3)
    taken.sort()
    return load_ms, taken[len(taken) // 2], taken[len(taken) * 99 // 100]


def main() -> int:
    print(f"{'rules':>6} {'indexed':>8} {'load ms':>8} {'p50 us':>8} {'p99 us':>8}")
    for distinct in (True, False):
        for size in (10, 100, 1000):
            load_ms, p50, p99 = measure(size, distinct)
            print(f"{size:>6} {'yes' if distinct else 'no':>8} {load_ms:>8.1f} {p50:>8.1f} {p99:>8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
