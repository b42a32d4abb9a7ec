"""Secrets do not leave the process; everything else does as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak.redact import Redaction, Redactor, luhn

redactor = Redactor()

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner) | st.tuples(inner),
    max_leaves=30,
)

# Put together at run time: nothing here is, or looks to a scanner like, anybody's key.
SECRETS = {
    "aws-key": "AKIA" + "IOSFODNN7EXAMPLE",
    "github-token": "ghp_" + "a1B2" * 9,
    "gitlab-token": "glpat-" + "x" * 20,
    "slack-token": "xoxb-" + "1234567890-abc",
    "google-key": "AIza" + "B" * 35,
    "stripe-key": "sk_live_" + "0" * 24,
    "npm-token": "npm_" + "A" * 36,
    "pypi-token": "pypi-" + "A" * 40,
    "vaultak-key": "vtk_" + "abcdef123456",
    "sk-key": "sk-" + "proj-" + "A" * 30,
    "jwt": "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "s" * 20,
    "bearer": "Bearer " + "abcDEF123456789_-xyz",
    "private-key": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nxyz\n-----END RSA PRIVATE KEY-----",
    "card": "4111 1111 1111 1111",
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("around", ["{}", "before {} after", "é {}\n", '{{"x": "{}"}}'])
def test_a_known_secret_is_gone_wherever_it_stands(kind: str, around: str) -> None:
    text = redactor.text(around.format(SECRETS[kind]))
    assert SECRETS[kind] not in text
    assert f"[REDACTED:{kind}]" in text
    nested = redactor.value({"a": [{"b": (around.format(SECRETS[kind]),)}], SECRETS[kind]: 1})
    assert SECRETS[kind] not in json.dumps(nested, ensure_ascii=False)


def test_credentials_leave_a_url_and_the_rest_of_it_stays() -> None:
    clean = redactor.text("see https://user:hunter22@example.com:8443/path?q=1 now")
    assert clean == "see https://[REDACTED:url-credentials]@example.com:8443/path?q=1 now"


@pytest.mark.parametrize(
    "name", ["password", "db_password", "apiKey", "API-KEY", "Authorization", "client_secret", "accessToken", "PIN"]
)
@pytest.mark.parametrize("value", ["hunter22", 1234, b"x", 3.5])
def test_a_member_named_like_a_secret_is_hidden(name: str, value: object) -> None:
    assert redactor.value({name: value}) == {name: "[REDACTED:named]"}


@pytest.mark.parametrize("name", ["max_tokens", "inputTokens", "passenger", "pinned", "tokenizer", "secretary"])
def test_a_member_that_only_sounds_like_one_is_not(name: str) -> None:
    assert redactor.value({name: 5}) == {name: 5}


@pytest.mark.parametrize(
    "text",
    [
        "/home/user/projects/report-2026.txt",
        "SELECT * FROM orders WHERE id = 1234567890123",
        "call me at 555-123-4567, order 4111 1111 1111 1112",
        "01a2074d-6de0-7f07-91a9-1e346d352fab",
        "https://example.com/a/b?c=d#e",
        "task-sk-short and bearer of news",
        "d41d8cd98f00b204e9800998ecf8427e",
    ],
)
def test_ordinary_text_is_untouched(text: str) -> None:
    assert redactor.text(text) == text


@given(JSON)
def test_any_value_comes_out_as_json_and_a_second_time_the_same(value: Any) -> None:
    clean = redactor.value(value)
    json.dumps(clean, allow_nan=False).encode()
    assert redactor.value(clean) == clean


@given(st.text(st.characters()))
def test_any_text_comes_out_and_a_second_time_the_same(text: str) -> None:
    clean = redactor.text(text)
    clean.encode()
    assert redactor.text(clean) == clean


@given(st.sampled_from(list(SECRETS)), st.text(st.sampled_from(" .,:;/?&=\n\"'"), min_size=1, max_size=3), st.text())
def test_no_surroundings_hide_a_secret(kind: str, edge: str, filler: str) -> None:
    if kind != "bearer":  # needs its keyword before it
        assert SECRETS[kind] not in redactor.text(filler + edge + SECRETS[kind] + edge + filler)


def test_patterns_and_names_of_ones_own() -> None:
    own = Redactor(Redaction(patterns={"badge": r"\bB-[0-9]{6}\b"}, names=("maiden_name",)))
    assert own.value({"x": "badge B-123456", "maiden_name": "Smith"}) == {
        "x": "badge [REDACTED:badge]",
        "maiden_name": "[REDACTED:named]",
    }


def test_what_is_too_deep_or_endless_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert "too-deep" in json.dumps(redactor.value(loop))


@given(st.text("0123456789", min_size=12, max_size=19))
def test_the_checksum_of_card_numbers_is_found_by_brute_force(digits: str) -> None:
    fitting = [d for d in "0123456789" if luhn(digits + d)]
    assert len(fitting) == 1 or len(set(digits)) == 1


def test_a_megabyte_takes_no_longer_than_it_must() -> None:
    redactor.text("a" * 1_000_000)
    redactor.text("eyJ" * 300_000)
