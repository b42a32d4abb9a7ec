"""An HTTP request is one action with its method and URL, judged before anything is sent, whatever library sends it."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest

from sdk.intercept.http_ways import WAYS, Way
from sdk.intercept.loopback import Web, serving
from sdk.intercept.recorder import Asked, Recorder, governed
from vaultak.errors import ActionBlockedError
from vaultak.intercept import faults, install

install()

every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with serving() as web:
        yield web


@pytest.fixture(autouse=True)
def _fresh(server: Web) -> Iterator[None]:
    server.reached.clear()
    before = faults.total()
    yield
    assert faults.total() == before, faults


def requests_of(recorder: Recorder) -> list[Asked]:
    return [asked for asked in recorder.asked if asked.resource.startswith(("http", "ws", "unclassified"))]


def denying(pattern: str) -> Recorder:
    return Recorder(denies=lambda _type, resource: fnmatchcase(resource, pattern))


@every_way
def test_an_allowed_request_is_one_action_with_its_outcome(way: Way, server: Web) -> None:
    with governed(Recorder()) as agent:
        assert way("GET", server.url("/page")) == 200
    (asked,) = requests_of(agent)
    assert (asked.action_type, asked.resource) == ("network_request", server.url("/page"))
    assert (asked.payload["method"], asked.payload["host"], asked.assurance) == ("GET", "127.0.0.1", "patch")
    assert asked.outcome == "ok"
    assert [(method, path) for method, path, _ in server.reached] == [("GET", "/page")]


@every_way
def test_a_denied_url_is_never_sent(way: Way, server: Web) -> None:
    with governed(denying("*/evil*")) as agent, pytest.raises(ActionBlockedError):
        way("POST", server.url("/evil?x=1"), {"a": 1})
    assert len(requests_of(agent)) == 1
    assert server.reached == []
    assert not [asked for asked in agent.asked if asked.payload.get("op") == "socket.connect"]


@every_way
def test_needless_escapes_hide_no_path(way: Way, server: Web) -> None:
    with governed(denying("*/evil*")), pytest.raises(ActionBlockedError):
        way("GET", server.url("/%65v%69l"))
    assert server.reached == []


@every_way
def test_an_error_status_is_a_failed_action(way: Way, server: Web) -> None:
    with governed(Recorder()) as agent:
        assert way("GET", server.url("/missing")) == 404
    (asked,) = requests_of(agent)
    assert (asked.outcome, asked.error[:8]) == ("error", "HTTP 404")


@every_way
def test_a_redirect_is_judged_hop_by_hop(way: Way, server: Web) -> None:
    if not way.follows:
        pytest.skip("follows none")
    with governed(Recorder()) as agent:
        assert way("GET", server.url("/redirect")) == 200
    assert [asked.resource for asked in requests_of(agent)] == [server.url("/redirect"), server.url("/target")]
    server.reached.clear()
    with governed(denying("*/target")), pytest.raises(ActionBlockedError):
        way("GET", server.url("/redirect"))
    assert [path for _, path, _ in server.reached] == ["/redirect"]


@every_way
def test_credentials_and_the_query_stay_out_of_the_resource(way: Way, server: Web) -> None:
    if not way.credentials:
        pytest.skip("refuses such a URL")
    with governed(Recorder()) as agent:
        way("GET", server.url("/page?token=t0psecret&q=x", "alice:s3cretpw@"))
    (asked,) = requests_of(agent)
    assert asked.resource == server.url("/page")
    assert asked.payload["query"] == {"token": "t0psecret", "q": "x"}
    assert "s3cretpw" not in repr(agent.asked)


@every_way
def test_a_body_is_on_record_by_structure(way: Way, server: Web) -> None:
    with governed(Recorder()) as agent:
        way("POST", server.url("/form"), {"password": "s3cretpw", "name": "x"})
    (asked,) = requests_of(agent)
    (sent,) = server.reached
    assert sent[0] == "POST"
    assert b"s3cretpw" in sent[2]
    if way.name != "http.client, line by line":
        assert asked.payload["body"] == {"password": "s3cretpw", "name": "x"}
        assert asked.payload["body_bytes"] == len(sent[2])
        assert "content-type" in asked.payload["headers"]


@every_way
def test_a_connection_refused_is_a_failed_action(way: Way) -> None:
    with governed(Recorder()) as agent, pytest.raises(Exception):  # noqa: B017
        way("GET", "http://127.0.0.1:9/page")
    assert {asked.outcome for asked in requests_of(agent)} == {"error"}


@every_way
def test_outside_every_monitor_nothing_changes(way: Way, server: Web) -> None:
    assert way("POST", server.url("/page"), {"a": 1}) == 200
    assert [(method, path) for method, path, _ in server.reached] == [("POST", "/page")]
