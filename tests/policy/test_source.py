"""Rule files: what a security engineer writes is what judges, and what cannot be read says where."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak.errors import PolicyError
from vaultak_streams.policy import parse_rules, try_rules

RULE = r"""
title: No deletion outside the scratch directory
id: delete-outside
level: high
tags: [attack.impact]
logsource: {product: vaultak}
detection:
  selection:
    action_type: file_delete
  selection_glob:
    resource: '/data/*.db'
  filter_tmp:
    resource|startswith: [/tmp/, /var/tmp/]
  condition: 1 of selection* and not filter_tmp
enforce: block
tests:
  - {name: data, event: {action_type: file_delete, resource: /srv/a}, match: true}
  - {name: glob, event: {action_type: file_read, resource: /Data/x.db}, match: true}
  - {name: no glob, event: {action_type: file_read, resource: /data/x.dbx}, match: false}
  - {name: scratch, event: {action_type: file_delete, resource: /tmp/a}, match: false}
"""


def test_a_rule_passes_the_tests_that_it_carries() -> None:
    sources = parse_rules(RULE, "r.yml")
    assert [source.rule.id for source in sources] == ["delete-outside"]
    assert try_rules(sources) == []


def test_a_test_that_does_not_hold_is_named() -> None:
    failures = try_rules(parse_rules(RULE.replace("/tmp/a}, match: false", "/tmp/a}, match: true"), "r.yml"))
    assert [(failure.rule, failure.test) for failure in failures] == [("delete-outside", "scratch")]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("not filter_tmp", "not filter_temp", "r.yml:14: condition: there is no selection `filter_temp`"),
        ("not filter_tmp", "(filter_tmp", "r.yml:14: condition: a `.` is missing"),
        ("1 of selection*", "1 of other*", "no selection fits `other\\*`"),
        ("resource|startswith", "resource|begins", "there is no modifier `begins`"),
        ("enforce: block", "enforce: stop", "r.yml:15: .*enforce"),
        ("enforce: block", "enforce: block\nrate: 5", "r.yml:16: .*unknown field `rate`"),
        ("level: high", "level: high\nlevel: low", "r.yml:5: key is given twice"),
        ("level: high", "level: &a high\nauthor: *a", "r.yml:5: aliases"),
        ("title:", "title: [", "r.yml:"),
    ],
)
def test_what_cannot_be_read_says_where_and_what(old: str, new: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        parse_rules(RULE.replace(old, new), "r.yml")


@pytest.mark.parametrize(
    ("value", "text", "fits"), [(r"a\*b", "a*b", True), (r"a\*b", "axb", False), ("a?b", "axb", True)]
)
def test_wildcards_can_be_escaped(value: str, text: str, fits: bool) -> None:
    lines = f"title: t\nid: i\nenforce: alert\ndetection:\n  s: {{resource: '{value}'}}\n  condition: s\n"
    test = f"tests: [{{name: n, event: {{resource: '{text}'}}, match: {str(fits).lower()}}}]\n"
    assert try_rules(parse_rules(lines + test, "r.yml")) == []


def test_a_large_selection_that_is_named_again_and_again_is_refused() -> None:
    values = ", ".join(f"v{n}" for n in range(1000))
    named = " or ".join(["s"] * 500)
    text = f"title: t\nid: i\nenforce: alert\ndetection:\n  s: {{tool: [{values}]}}\n  condition: {named}\n"
    with pytest.raises(PolicyError, match="values"):
        parse_rules(text, "r.yml")


@given(st.text(max_size=200) | st.text("[]{}:-*&! \n'\"ab,|", max_size=200))
def test_any_text_is_rules_or_a_policy_error(text: str) -> None:
    with contextlib.suppress(PolicyError):
        parse_rules(text, "r.yml")


@given(st.text("()  sandortmfel1*", max_size=60))
def test_any_condition_is_a_tree_or_a_policy_error(condition: str) -> None:
    with contextlib.suppress(PolicyError):
        parse_rules(RULE.replace("1 of selection* and not filter_tmp", condition), "r.yml")


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{b: " * 5000, "title: t\ndetection: {condition: " + "(" * 4000])
def test_nesting_without_end_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_rules(text, "r.yml")
