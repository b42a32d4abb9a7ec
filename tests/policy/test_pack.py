"""The shipped pack: what each rule must carry, and that its own tests hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

import pytest
import yaml

from vaultak.policy.rules import CompiledRules
from vaultak_streams.policy import parse_rules, try_rules
from vaultak_streams.policy.source import bundle_of

PACK = {
    path.name: path.read_text(encoding="utf-8")
    for path in files("vaultak_streams.policy").joinpath("pack").iterdir()
    if path.name.endswith(".yaml")
}
TAG = re.compile(r"owasp\.asi(0[1-9]|10)|attack\.(t\d{4}(\.\d{3})?|[a-z_]+)|atlas\.aml\.t\d{4}(\.\d{3})?")


def written() -> Iterator[tuple[str, dict[str, object]]]:
    for name, text in PACK.items():
        for document in yaml.safe_load_all(text):
            yield name, document


RULES = [pytest.param(document, id=f"{name}:{document['id']}") for name, document in written()]


@pytest.mark.parametrize("name", sorted(PACK))
def test_the_tests_that_rules_carry_hold(name: str) -> None:
    assert try_rules(parse_rules(PACK[name], name)) == []


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_says_why_and_when_it_errs(rule: dict[str, object]) -> None:
    assert all(rule[key] for key in ("description", "level", "falsepositives", "maturity"))
    tests = rule["tests"]
    assert isinstance(tests, list)
    assert {test["match"] for test in tests} == {True, False}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_mapped_to_what_the_trade_knows(rule: dict[str, object]) -> None:
    tags = rule["tags"]
    assert isinstance(tags, list)
    assert [tag for tag in tags if not TAG.fullmatch(tag)] == []
    assert any(tag.startswith("owasp.") for tag in tags)
    assert any(tag.startswith(("attack.t", "atlas.")) for tag in tags)


def test_the_whole_pack_is_one_bundle_and_no_rule_fails_on_an_ordinary_action() -> None:
    sources = [source for name, text in sorted(PACK.items()) for source in parse_rules(text, name)]
    rules = CompiledRules(bundle_of([source.rule for source in sources], "pack"))
    for source in sources:
        for test in source.tests:
            assert rules.evaluate(test.event).errors == (), test.name
    quiet = {"action_type": "file_read", "resource": "/srv/app/main.py", "payload": {"op": "open"}, "risk": 0.1}
    assert rules.evaluate(quiet).rules == ()
