"""Runs the tests that rules carry, each against its own rule alone."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vaultak.policy.rules import CompiledRules, Occasion, Tally
from vaultak.policy.rules.evaluate import RuleVerdict
from vaultak_streams.policy.source import RuleSource, RuleTest, bundle_of


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
            verdict = _try(rules, test)
            if verdict.errors or bool(verdict.rules or verdict.shadow) is not test.match:
                failures.append(Failure(source.rule.id, test.name, test.match, verdict.errors))
    return failures


def _try(rules: CompiledRules, test: RuleTest) -> RuleVerdict:
    """The verdict on the last of the test's events. Without a time of day, only rules that ask for one fail."""
    tally = Tally()
    for _ in range(test.times - 1):
        rules.evaluate(test.event, _occasion(test, tally))
    return rules.evaluate(test.event, _occasion(test, tally))


def _occasion(test: RuleTest, tally: Tally) -> Occasion:
    return Occasion(None if test.at is None else test.at.timestamp(), tally)
