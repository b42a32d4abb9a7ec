"""Rule files: what a security engineer writes is what judges, and what cannot be read says where."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak.errors import PolicyError
from vaultak.policy.rules import Day, Rate, Window
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
        ("enforce: block", "enforce: block\nratio: 5", "r.yml:16: .*unknown field `ratio`"),
        ("enforce: block", "enforce: block\nrate: 5", "r.yml:16: .*`object`"),
        ("enforce: block", "enforce: block\nrate:\n  count: 0\n  window: 5m", "r.yml:17: "),
        ("enforce: block", "enforce: block\nrate:\n  count: 9\n  window: 5", "r.yml:18: "),
        ("enforce: block", "enforce: block\nrate:\n  count: 9\n  window: 8d", "r.yml:18: .*longer than `7d`"),
        ("enforce: block", "enforce: block\nactive:\n  zone: Mars/Phobos", "r.yml:17: .*no time zone `Mars/Phobos`"),
        ("enforce: block", "enforce: block\nactive:\n  zone: Europe", "r.yml:17: .*no time zone"),
        ("enforce: block", "enforce: block\nactive:\n  zone: ../../etc/passwd", "r.yml:17: .*no time zone"),
        ("enforce: block", "enforce: block\nactive:\n- to: 24:00\n- zone: Mars", "r.yml:18: .*no time zone `Mars`"),
        ("enforce: block", "enforce: block\nactive:\n  from: 25:00", "r.yml:17: "),
        ("enforce: block", "enforce: block\nactive:\n  from: 24:00", "r.yml:17: "),
        ("enforce: block", "enforce: block\nactive:\n  days: [monday]", "r.yml:17: "),
        ("enforce: block", "enforce: block\nactive:\n  from: 08:00\n  to: 08:00", "r.yml:18: .*has no length"),
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


TIMED = """
title: t
id: i
enforce: block
detection: {s: {tool: mail}, condition: s}
rate: {count: 2, window: 5m, by: [session_id]}
active: {days: [mon, tue], from: 22:00, to: 06:00, zone: Europe/Berlin}
tests:
  - {name: twice, event: {tool: mail}, match: false, times: 2, at: 2026-11-23T21:00:00Z}
  - {name: often, event: {tool: mail}, match: true, times: 3, at: 2026-11-23T21:00:00Z}
  - {name: by day, event: {tool: mail}, match: false, times: 3, at: "2026-11-23T20:59:59Z"}
  - {name: wednesday morning, event: {tool: mail}, match: true, times: 3, at: "2026-11-25T05:59:59+01:00"}
  - {name: wednesday night, event: {tool: mail}, match: false, times: 3, at: "2026-11-25T23:00:00+01:00"}
"""


def test_tests_say_how_often_and_when() -> None:
    """Hours need no quotes, although YAML 1.1 reads `22:00` as a number."""
    sources = parse_rules(TIMED, "r.yml")
    assert try_rules(sources) == []
    assert sources[0].rule.rate == Rate(2, 300, ("session_id",))
    assert sources[0].rule.active == (Window((Day.MON, Day.TUE), "22:00", "06:00", "Europe/Berlin"),)


def test_hours_cannot_be_tried_without_a_time() -> None:
    failures = try_rules(parse_rules(TIMED.replace(", at: 2026-11-23T21:00:00Z", ""), "r.yml"))
    assert [failure.test for failure in failures] == ["twice", "often"]
    assert "time of day" in failures[0].errors[0]


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
