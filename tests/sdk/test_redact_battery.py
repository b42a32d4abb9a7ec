"""The battery of what must go and what must stay, wherever it stands; what users can configure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.redaction_cases import GONE, GONE_IN, STAYS, STAYS_IN, S
from vaultak.errors import ConfigurationError
from vaultak.redact import Redaction, Redactor

redactor = Redactor()
SCRAPS = [text for text, _ in GONE] + STAYS + ["[REDACTED:", "]", '"', "'", "=", ": ", " ", "\n", "password", "\\"]


@pytest.mark.parametrize(("text", "secret"), GONE)
@pytest.mark.parametrize("around", ["{}", "é before\n{}\nafter", "run: {} ; done"])
def test_a_secret_goes(text: str, secret: str, around: str) -> None:
    clean = redactor.text(around.format(text) if "{}" in around else text)
    assert secret not in clean
    assert "[REDACTED:" in clean
    assert redactor.text(clean) == clean


@pytest.mark.parametrize("value", GONE_IN, ids=str)
def test_a_secret_in_a_structure_goes(value: Any) -> None:
    clean = redactor.value({"outer": [value]})
    assert S not in json.dumps(clean)
    assert redactor.value(clean) == clean


@pytest.mark.parametrize("text", STAYS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redactor.text(text) == text


@pytest.mark.parametrize("value", STAYS_IN, ids=str)
def test_a_structure_without_secrets_stays(value: Any) -> None:
    assert redactor.value(value) == value


@given(st.lists(st.sampled_from(SCRAPS) | st.text(max_size=5), max_size=8))
def test_a_second_time_changes_nothing(scraps: list[str]) -> None:
    clean = redactor.text("".join(scraps))
    assert redactor.text(clean) == clean


def test_users_say_what_else_is_secret_and_what_is_not() -> None:
    own = Redactor(
        Redaction(
            patterns={"badge": r"badge (?P<secret>B-[0-9]{6})"},
            names=["maidenName"],
            allow=[r"AKIA[A-Z]*TEST[A-Z]*", "4111 1111 1111 1111", "x+"],
        )
    )
    test_key = "AKIA" + "TEST" + "Q" * 12
    assert own.value({"t": "badge B-123456", "maiden_name": "Smith", "maidenName": "Smith"}) == {
        "t": "badge [REDACTED:badge]", "maiden_name": "[REDACTED:named]", "maidenName": "[REDACTED:named]",
    }  # fmt: skip
    assert own.text(f"{test_key} 4111 1111 1111 1111 password=xxx") == f"{test_key} 4111 1111 1111 1111 password=xxx"
    assert own.value({"password": "xxx"}) == {"password": "xxx"}
    assert "REDACTED" in own.text("AKIA" + "Q" * 16)


def test_a_card_number_that_is_an_integer_goes() -> None:
    assert redactor.value({"n": 4111111111111111}) == {"n": "[REDACTED:card]"}


@pytest.mark.parametrize("wrong", [{"patterns": {"x": "("}}, {"allow": ["["]}])
def test_a_pattern_that_is_none_is_said_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="is no RE2 pattern"):
        Redactor(Redaction(**wrong))
