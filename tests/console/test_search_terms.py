"""The language of the search box."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak_streams.console.search_terms import Terms, parse, quoted


def test_terms_and_text_are_told_apart() -> None:
    found = parse("agent:billing-bot  decision:stopped risk:>=0.7 ledger 2026 type:file_delete")
    assert (found.agent, found.decision, found.min_risk, found.type) == ("billing-bot", "stopped", 0.7, "file_delete")
    assert found.text == "ledger 2026"
    assert not found.only_text
    assert parse("just words").only_text


def test_quotes_hold_a_value_together() -> None:
    assert parse("session:'month end' rule:\"a b\"").session == "month end"
    assert parse("it's").text == "it's"


def test_times_are_ago_or_exact() -> None:
    since = parse("since:2h").since
    assert abs((dt.datetime.now(dt.UTC) - since).total_seconds() - 7200) < 5
    assert parse("until:2026-11-23").until == dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


@pytest.mark.parametrize("query", ["risk:2", "risk:high", "type:fly", "decision:maybe", "since:soon", "status:done"])
def test_what_is_not_understood_is_told_and_not_searched(query: str) -> None:
    found = parse(query)
    assert len(found.problems) == 1
    assert found.text == ""


@given(st.text(max_size=500))
def test_any_text_is_read_without_an_error(query: str) -> None:
    found = parse(query)
    assert isinstance(found, Terms)
    assert 0 <= found.min_risk <= 1
    assert found.since.tzinfo
    found.parameters()


@given(st.sampled_from(["agent", "session", "rule"]), st.text(min_size=1, max_size=60).filter(lambda t: t.strip()))
def test_a_quoted_term_reads_back(name: str, value: str) -> None:
    assert getattr(parse(quoted(name, value)), name) == value
