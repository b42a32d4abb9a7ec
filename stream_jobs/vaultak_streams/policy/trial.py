"""Runs the tests that rules carry, each against its own rule alone."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vaultak.policy.rules import CompiledRules
from vaultak_streams.policy.source import RuleSource, bundle_of


class Failure(msgspec.Struct, frozen=True):
    """A test that did not come out as it says."""

    rule: str
    test: str
    wanted: bool
    errors: tuple[str, ...]


def try_rules(sources: Iterable[RuleSource]) -> list[Failure]:
    """The tests that failed. A rule that cannot be evaluated on a test's event fails that test, whatever it wants."""
    failures = []
    for source in sources:
        rules = CompiledRules(bundle_of([source.rule], "trial"))
        for test in source.tests:
            verdict = rules.evaluate(test.event)
            if verdict.errors or bool(verdict.rules or verdict.shadow) is not test.match:
                failures.append(Failure(source.rule.id, test.name, test.match, verdict.errors))
    return failures
