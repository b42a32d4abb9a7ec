"""What people are told of incidents: each thing once, in words that agents cannot turn against the reader."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak.errors import ConfigurationError
from vaultak.wire import Incident, IncidentStatus
from vaultak_streams.alerts.notice import MAX_CASES, Cases, Notice, NoticeKind
from vaultak_streams.alerts.options import LEAST, AlertOptions
from vaultak_streams.alerts.pace import Pace
from vaultak_streams.alerts.wording import worded


def incident(**changes: Any) -> Incident:
    values: dict[str, Any] = {
        "incident_id": "0198",
        "agent_id": "billing",
        "session_id": "s1",
        "ts": "2026-11-23T10:00:00.000000Z",
        "status": IncidentStatus.OPENED,
        "severity": "block",
        "risk": 0.9,
        "title": "block: file_delete /srv/prod.db",
    }
    return Incident(**values | changes)


def test_an_incident_is_told_once_however_often_its_message_comes() -> None:
    cases = Cases()
    first = cases.notice(incident())
    assert first is not None
    assert (first.kind, first.title) == (NoticeKind.OPENED, "file_delete /srv/prod.db")
    assert cases.notice(incident()) is None
    assert cases.notice(incident(status=IncidentStatus.UPDATED, risk=0.95)) is None


def test_another_incident_of_the_same_agent_and_session_is_the_same_story() -> None:
    cases = Cases()
    cases.notice(incident())
    assert cases.notice(incident(incident_id="0199")) is None
    assert cases.notice(incident(incident_id="0199", session_id="s2")) is not None


def test_it_is_told_when_it_gets_worse_and_from_what() -> None:
    cases = Cases()
    cases.notice(incident())
    worse = cases.notice(incident(status=IncidentStatus.UPDATED, severity="kill"))
    assert worse is not None
    assert (worse.kind, worse.before) == (NoticeKind.ESCALATED, "block")
    assert cases.notice(incident(status=IncidentStatus.UPDATED, severity="block")) is None


def test_it_is_told_when_it_is_closed_and_when_it_opens_again() -> None:
    cases = Cases()
    cases.notice(incident())
    closed = cases.notice(incident(status=IncidentStatus.CLOSED, closed_by="ann", note="a test"))
    assert closed is not None
    assert (closed.kind, closed.by, closed.note) == (NoticeKind.CLOSED, "ann", "a test")
    assert cases.notice(incident(status=IncidentStatus.CLOSED)) is None
    again = cases.notice(incident(status=IncidentStatus.UPDATED))
    assert again is not None
    assert again.kind is NoticeKind.OPENED


def test_what_is_too_mild_is_not_told_until_it_is_severe_enough() -> None:
    cases = Cases("kill")
    assert cases.notice(incident()) is None
    assert cases.notice(incident(status=IncidentStatus.CLOSED)) is None
    worse = cases.notice(incident(status=IncidentStatus.UPDATED, severity="kill"))
    assert worse is not None
    assert worse.kind is NoticeKind.OPENED


def test_the_memory_of_cases_is_bounded_and_survives_being_written_down() -> None:
    cases = Cases()
    for n in range(MAX_CASES + 10):
        cases.notice(incident(session_id=f"s{n}"))
    assert len(cases) == MAX_CASES
    again = Cases(known=msgspec.json.decode(msgspec.json.encode(list(cases.items())), type=list[tuple[str, Any]]))
    assert len(again) == MAX_CASES


STATUSES, SEVERITIES = st.sampled_from(list(IncidentStatus)), st.sampled_from(LEAST)


@given(st.lists(st.tuples(STATUSES, SEVERITIES)))
def test_a_message_that_comes_twice_is_told_once(messages: list[tuple[IncidentStatus, str]]) -> None:
    cases = Cases()
    for status, severity in messages:
        message = incident(status=status, severity=severity)
        cases.notice(message)
        assert cases.notice(message) is None


def notice(**changes: Any) -> Notice:
    found = Cases().notice(incident(**changes))
    assert found is not None
    return found


def test_a_message_says_who_what_and_where_to_look() -> None:
    message = worded([notice()], console="https://vaultak.example")
    assert message.title == "Block: billing, file_delete /srv/prod.db"
    assert message.level == "failure"
    assert "Risk: 0.90" in message.body
    assert message.body.endswith("https://vaultak.example/incident?id=0198")


@pytest.mark.parametrize(
    "hostile", ["a\nInjected: line", "@everyone look", "<!channel>", "<a href='x'>", "\x1b[31m", "\u202egnp.exe"]
)
def test_what_an_agent_chose_mentions_nobody_and_adds_no_line(hostile: str) -> None:
    message = worded([notice(title=f"block: {hostile}", agent_id=hostile, session_id=hostile)])
    text = message.title + message.body
    assert len(message.body.splitlines()) == 5
    assert "@everyone" not in text
    assert "<" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_many_become_one_message_that_counts_them() -> None:
    message = worded([notice(session_id=f"s{n}") for n in range(30)], dropped=5)
    assert message.title == "35 messages about incidents"
    assert message.body.splitlines()[-1] == "and 15 more"


def test_the_pace_lets_a_burst_pass_and_then_so_many_a_minute() -> None:
    pace, sent = Pace(per_minute=6, burst=3), []
    now_s = 100.0
    while now_s < 160:
        if pace.wait_s(now_s) == 0:
            pace.spend()
            sent.append(now_s)
        now_s += 0.5
    assert len([at for at in sent if at < 102]) == 3
    assert len(sent) == 3 + 5


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"VAULTAK_ALERT_LEAST": "alert"}, "VAULTAK_ALERT_LEAST"),
        ({"VAULTAK_ALERT_PER_MINUTE": "nan"}, "VAULTAK_ALERT_PER_MINUTE"),
        ({"VAULTAK_ALERT_CONFIG": "/nowhere/apprise.yml"}, "no file at"),
        ({"VAULTAK_ALERT_CONSOLE": "console.example"}, "not an http address"),
        ({"VAULTAK_ALERT_URLS_FILE": "/nowhere"}, "VAULTAK_ALERT_URLS_FILE"),
    ],
)
def test_wrong_options_are_named(env: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        AlertOptions.from_env(env)
