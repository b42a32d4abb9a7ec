"""Equal URLs are one resource, however they are spelt; no URL, however hostile, is without one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak.intercept.web import normal_path, request, shown_body, with_body
from vaultak.policy.resources import ResourceMatcher

URLS = (
    ("http://Example.COM/a", "http://example.com/a"),
    ("HTTP://example.com:80/a", "http://example.com/a"),
    ("https://example.com:443", "https://example.com/"),
    ("https://example.com:8443/a?q=1#f", "https://example.com:8443/a"),
    ("https://u:p@example.com/a", "https://example.com/a"),
    ("https://u:p@ss@example.com/a", "https://example.com/a"),
    ("https://example.com./a", "https://example.com/a"),
    ("https://example.com?x=/y", "https://example.com/"),
    ("https://example.com/%61%2f%7e", "https://example.com/a%2F~"),
    ("https://[::1]:8080/a", "https://[::1]:8080/a"),
    ("https://[::1]/a", "https://[::1]/a"),
    ("ws://example.com:80/s", "ws://example.com/s"),
)


@pytest.mark.parametrize(("url", "resource"), URLS)
def test_one_spelling(url: str, resource: str) -> None:
    assert request("GET", url).resource == resource


def test_parts_and_whole_agree() -> None:
    parts = request("get", "/a%62?q=1", scheme="HTTPS", host="Example.com", port=443)
    assert parts == request("GET", "https://example.com/ab?q=1")
    assert parts.authority == "example.com:443"


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://u:p@", "//", "http://[", "ws://h:", "http:///"]))
def test_any_text_has_a_resource(text: str, prefix: str) -> None:
    asked = request("GET", prefix + text, scheme="http")
    assert asked.resource.startswith(f"{asked.scheme}://")
    assert asked.path.startswith("/")
    assert not set("?#") & set(asked.path)
    assert asked.payload()["method"] == "GET"


@given(st.text(alphabet="ab%/.~2fF5eE14", max_size=30))
def test_normalising_a_path_again_goes_on_only_where_an_escape_was_hidden(path: str) -> None:
    once = normal_path(path)
    assert once.startswith("/")
    if "%25" not in once and path.count("%") == once.count("%"):
        assert normal_path(once) == once


@given(st.binary(max_size=200), st.sampled_from(["", "application/json", "application/x-www-form-urlencoded"]))
def test_any_body_can_be_shown(body: bytes, content_type: str) -> None:
    shown_body(body, content_type)
    asked = with_body(request("POST", "http://h/"), [("Content-Type", content_type)], body)
    assert asked.body_bytes == len(body)


@pytest.mark.parametrize(
    ("pattern", "blocked"),
    [
        ("https://evil.example/*", True),
        ("evil.example", True),
        ("*evil.example*", True),
        ("evil.example:443", True),
        ("*.example:443", True),
        ("https://evil.example/admin*", True),
        ("https://evil.example/other*", False),
        ("evil.example:80", False),
        ("good.example", False),
    ],
)
def test_patterns_that_users_write(pattern: str, blocked: bool) -> None:
    asked = request("GET", "https://u:p@EVIL.example/x/../%61dmin?q=1")
    matcher = ResourceMatcher([pattern])
    reached = [asked.resource, *asked.payload()["resources"]]
    assert any(matcher.match(resource) for resource in reached) is blocked


def test_another_host_in_the_headers_is_a_resource_too() -> None:
    asked = with_body(request("GET", "http://203.0.113.7/"), [("Host", "Evil.example")], None)
    assert asked.payload()["resources"] == ["203.0.113.7:80", "203.0.113.7", "evil.example"]
