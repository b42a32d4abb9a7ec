"""What each page shows of the recorded hour, and that nothing an agent says becomes part of a page."""

from __future__ import annotations

import html.parser
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient

from console.conftest import TOKEN, csrf_of
from console.recorded import HELD, HOSTILE, HOSTILE_AGENT, INCIDENT, ROGUE
from vaultak.config import Settings
from vaultak.wire import Decision
from vaultak_devstack.keys import command_signer
from vaultak_streams.backtest import remember
from vaultak_streams.backtest.report import Answers, Example, Group, make_report
from vaultak_streams.console.app import build
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.live import MAX_WATCHERS
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.console.reading import Reader
from vaultak_streams.policy import bundle_from

pytestmark = pytest.mark.stack

HOSTILE_PAGES = [
    "/", "/incidents", "/incident?id=0190b0a4-0000-7000-8000-00000000dead", "/search?q=script", "/health", "/policy",
    "/acts",
]  # fmt: skip


RULES = """
title: Refunds above 500 EUR ask first
id: large-refunds
level: high
detection:
  refund:
    action_type: tool_call
    tool: refund_order
  condition: refund
enforce: require_approval
tests:
  - {name: refund, event: {action_type: tool_call, tool: refund_order, resource: x}, match: true}
  - {name: other, event: {action_type: tool_call, tool: list_orders, resource: x}, match: false}
"""


class _Seen(html.parser.HTMLParser):
    """What a browser would run or load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.images = 0
        self.handlers: list[str] = []
        self.styles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script":
            self.scripts.append(given.get("src"))
        self.images += tag in ("img", "iframe", "object", "embed")
        self.handlers += [name for name in given if name.startswith("on")]
        self.styles += [name for name in given if name == "style"]


def _only_ours(text: str) -> None:
    seen = _Seen(text)
    assert all(source and source.startswith("/static/") for source in seen.scripts)
    assert (seen.images, seen.handlers, seen.styles) == (0, [], [])
    assert HOSTILE not in text


def test_the_fleet_shows_every_agent_the_worst_first(admin: TestClient) -> None:
    text = admin.get("/").text
    agents = ["billing-bot", "support-agent", "research-crawler", "deploy-agent", "code-reviewer"]
    assert all(f"/agent?id={agent}" in text for agent in agents)
    assert text.index("/agent?id=billing-bot") < text.index("/agent?id=research-crawler")
    assert 'class="state paused"' in text
    assert "tool:refund_order" in text


def test_an_agent_shows_its_state_habits_timeline_and_acts(admin: TestClient) -> None:
    text = admin.get("/agent", params={"id": ROGUE}).text
    for shown in (
        "paused",
        "risk 0.89 is above max_risk_score 0.70",
        "4,210 events",
        "db://pg/billing/invoices",
        "Kill",
    ):
        assert shown in text
    stopped = admin.get("/agent", params={"id": ROGUE, "only": "stopped"}).text
    assert stopped.count('class="entry') == 5
    assert admin.get("/agent", params={"id": "nobody"}).status_code == 404
    assert admin.get("/agent").status_code == 400


def test_a_timeline_goes_on_where_it_ended(admin: TestClient) -> None:
    first = admin.get("/agent", params={"id": ROGUE}).text
    before = first.split("before=")[1].split('"')[0].replace("%3A", ":").replace("%2B", "+")
    rest = admin.get("/agent/timeline", params={"id": ROGUE, "before": before}).text
    ids = {line.split("id=")[-1].split('"')[0] for line in (first + rest).splitlines() if 'hx-get="/action' in line}
    assert len(ids) == 80
    assert admin.get("/agent/timeline", params={"id": ROGUE, "before": "yesterday"}).status_code == 400


def test_an_action_tells_its_factors_explanation_and_outcome(admin: TestClient) -> None:
    text = admin.get("/action", params={"agent": ROGUE, "id": "rogue-09"}).text
    for shown in ("destructiveness", "not ready", "never seen before", "finance-ledgers-are-append-only", "denied",
                  "m-2026-11-20", "/srv/finance/ledger-2022.db"):  # fmt: skip
        assert shown in text
    assert admin.get("/action", params={"agent": ROGUE, "id": "none"}).status_code == 404


def test_the_charts_figures_are_even_and_complete(admin: TestClient) -> None:
    figures = admin.get("/agent/series", params={"id": ROGUE, "range": "6h"}).json()
    steps = {later - earlier for earlier, later in zip(figures["at"], figures["at"][1:], strict=False)}
    assert steps == {300}
    assert sum(figures["actions"]) == 104
    assert sum(figures["stopped"]) == 5
    assert max(risk for risk in figures["risk"] if risk is not None) == pytest.approx(0.97)


def test_incidents_are_sorted_by_what_needs_somebody(admin: TestClient) -> None:
    text = admin.get("/incidents").text
    assert (
        text.index('class="phase waiting"') < text.index('class="phase open"') < text.index('class="phase contained"')
    )


def test_an_incident_says_what_why_what_was_done_and_how_long_it_took(admin: TestClient) -> None:
    text = admin.get("/incident", params={"id": INCIDENT}).text
    for shown in ("contained", "file_delete", "/srv/finance/ledger-2022.db", "deletes what it never touched",
                  "5 actions reversed, 0 not", "24 ms", "36 ms", "42 ms", "102 ms", "month-end-close"):  # fmt: skip
        assert shown in text, shown
    assert admin.get("/incident?id=none").status_code == 404


@pytest.mark.parametrize(
    ("query", "entries"),
    [("agent:billing-bot decision:stopped", 5), ("ledger-2022", 1), ("LEDGER-2022", 1),
     ("risk:0.9 type:file_delete", 4),
     ("status:reversed", 5), ("rule:large-refunds", 1), ("until:2h", 0), ("no such thing", 0), ("session:refunds", 1),
     ("amount_eur", 1), ("'refunds above 500'", 1)],
)  # fmt: skip
def test_search_finds(admin: TestClient, query: str, entries: int) -> None:
    assert admin.get("/search", params={"q": query}).text.count('class="entry') == entries


def test_search_finds_agents_incidents_and_commands_too(admin: TestClient) -> None:
    assert "/agent?id=support-agent" in admin.get("/search?q=support").text
    assert INCIDENT in admin.get("/search?q=ledger-2022").text
    assert "/acts/cmd-pause" in admin.get("/search?q=max_risk_score").text


def test_search_says_what_it_did_not_understand(admin: TestClient) -> None:
    assert "`2` is not a number from 0 to 1" in admin.get("/search?q=risk:2").text


def test_policy_shows_what_is_in_force_what_judged_and_what_matched(admin: TestClient) -> None:
    text = admin.get("/policy").text
    for shown in ("p-2f81c0", "max risk score", "finance-ledgers-are-append-only", "m-2026-11-20"):
        assert shown in text


def test_policy_shows_what_the_last_back_test_found(admin: TestClient, settings: Settings) -> None:
    assert "Last back-test" not in admin.get("/policy").text
    example = Example("2026-11-20 10:00:00", ROGUE, "s", "a", "file_read", "/srv/<b>key.pem", "{}")
    group = Group(ROGUE, Decision.ALLOW, Decision.BLOCK, (0,), (), 12, (example,))
    bundle = bundle_from([("r.yaml", RULES)])
    found = make_report(
        bundle,
        [group],
        source="a recording",
        unknown={},
        answers=Answers(approved=4, approved_stopped=1),
        elapsed_s=1.0,
    )
    remember(settings.data_dir, found)
    text = admin.get("/policy").text
    for shown in (
        "Last back-test",
        "12 actions more would be stopped",
        "/srv/&lt;b&gt;key.pem",
        "Of 4 that people approved, 1",
    ):
        assert shown in text


def test_health_shows_lag_delays_and_dead_letters(admin: TestClient) -> None:
    text = admin.get("/health").text
    for shown in ("Waiting to be judged", "24 ms", "undecodable", "JSON is malformed"):
        assert shown in text
    assert "does not answer" in admin.get("/health/findings").text


def test_acts_lists_who_ordered_what_and_what_came_of_it(admin: TestClient) -> None:
    assert "5 actions reversed, 0 not" in admin.get("/acts").text
    assert "cmd-rollback" in admin.get("/acts/cmd-rollback").text
    assert admin.get("/acts/none").status_code == 404


@pytest.mark.parametrize("path", HOSTILE_PAGES)
def test_what_agents_say_stays_text(admin: TestClient, path: str) -> None:
    text = admin.get(path).text
    _only_ours(text)
    if path != "/acts":
        assert "&lt;script&gt;" in text


def test_an_agent_whose_name_is_hostile_has_a_page(admin: TestClient) -> None:
    _only_ours(admin.get("/agent", params={"id": HOSTILE_AGENT}).text)
    text = admin.get("/action", params={"agent": HOSTILE_AGENT, "id": f"h-{HOSTILE}"}).text
    _only_ours(text)
    assert "\\u202e" in text
    _only_ours(admin.get("/act", params={"agent_id": HOSTILE_AGENT, "command": "pause"}).text)
    _only_ours(admin.get("/search", params={"q": HOSTILE}).text)


def test_hostile_text_stays_inside_its_event_of_the_live_stream(admin: TestClient) -> None:
    from vaultak_streams.console.live import _event

    sent = _event("fleet", "a\nevent: other\r\ndata: x\n\nb")
    assert [line.split(":")[0] for line in sent.strip().split("\n")] == ["event", "data", "data", "data", "data"]
    assert MAX_WATCHERS < 1000


@pytest.mark.parametrize("query", ["", "'", '"', "\\", "{x:String}", "%", "' OR 1=1 --", "\x00", "agent:'", "‮"])
def test_no_query_breaks_the_page(admin: TestClient, query: str) -> None:
    assert admin.get("/search", params={"q": query}).status_code == 200


def test_what_is_waiting_can_be_answered_and_says_what_it_is(admin: TestClient) -> None:
    text = admin.get("/act", params={"agent_id": "support-agent", "command": "approve", "action_id": HELD}).text
    assert "tool:refund_order" in text
    assert json.dumps("amount_eur").strip('"') in text


@pytest.mark.parametrize(
    "order",
    [{"command": "set_policy", "agent_id": "a"}, {"command": "pause"}, {"command": "approve", "agent_id": "a"},
     {"command": "rollback", "agent_id": "*"}, {"command": "pause", "agent_id": "a" * 300}, {},
     {"command": "pause", "agent_id": "a", "reason": "x" * 501},
     {"command": "approve", "agent_id": "a", "action_id": "b", "scope": "for ever"},
     {"command": "deny", "agent_id": "a", "action_id": "b", "scope": "session"}],
)  # fmt: skip
def test_an_order_that_makes_no_sense_is_refused(admin: TestClient, order: dict[str, str]) -> None:
    assert admin.get("/act", params=order).status_code == 400
    assert admin.post("/act", data={**order, "csrf": csrf_of(admin)}).status_code == 400


def test_without_a_broker_nothing_is_sent_and_that_is_said(admin: TestClient) -> None:
    answer = admin.post("/act", data={"agent_id": ROGUE, "command": "pause", "csrf": csrf_of(admin)})
    assert answer.status_code == 503
    assert "Nothing was sent" in answer.text


def test_a_store_that_is_away_is_said(console: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch) -> None:
    client = console()
    client.post("/login", data={"secret": "a-token-for-these-tests"})
    monkeypatch.setattr("vaultak_streams.console.reading.connect", _away)
    answer = client.get("/")
    assert answer.status_code == 503
    assert "The audit store does not answer" in answer.text


def _away(_dsn: str) -> None:
    from vaultak_streams.store.errors import StoreUnavailableError

    raise StoreUnavailableError("ClickHouse at h:1 does not answer")


def test_rules_in_force_show_with_what_they_did(
    settings: Settings, recorded_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(RULES)
    desk = Desk(
        settings=msgspec.structs.replace(settings, policy=policy), reader=Reader(recorded_dsn),
        sign=command_signer(settings.data_dir),
    )  # fmt: skip
    with TestClient(build(desk, ConsoleOptions(token=TOKEN), b"s"), base_url="http://127.0.0.1") as client:
        client.get(f"/login?token={TOKEN}")
        text = client.get("/policy").text
    assert "Refunds above 500 EUR ask first" in text
    assert "require approval" in text
    assert "not in force here" in text
