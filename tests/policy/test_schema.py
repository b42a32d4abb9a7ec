"""The published schema of rules says what the parser does: editors flag nothing good, and what they flag is bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vaultak.policy.rules import Operator
from vaultak_streams.policy.init import starting_policy
from vaultak_streams.policy.schema import render, rule_schema
from vaultak_streams.policy.source import read_rules

VALIDATOR = jsonschema.Draft202012Validator(rule_schema())
ROOT = Path(__file__).parents[2]

KEYS = st.builds(
    lambda field, modifiers: "|".join([field, *modifiers]),
    st.sampled_from(["tool", "payload.sql", ""]),
    st.lists(st.sampled_from([*Operator, "all", "begins"]), max_size=2),
)
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["a", "*", "10.0.0.0/8", ""])
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.just({})
FIELDS = st.dictionaries(KEYS, VALUES, max_size=2)
DETECTION = st.fixed_dictionaries({"s": FIELDS | st.lists(FIELDS, max_size=2)}, optional={"condition": st.just("s")})
TRIED = {"name": "n", "event": {}, "match": True}
RATES = st.fixed_dictionaries(
    {"count": st.sampled_from([0, 1, 1000, 1001]), "window": st.sampled_from(["5m", "0s", "7d", "8d", "x"])},
    optional={"by": st.sampled_from([[], ["a", "b"], [""], "a"])},
)
CLOCKS = st.sampled_from(["00:00", "9:00", "23:59", "24:00", "24:01", "22:30"])
WINDOWS = st.fixed_dictionaries(
    {},
    optional={
        "days": st.sampled_from([[], ["mon"], ["Mon"]]),
        "from": CLOCKS,
        "to": CLOCKS,
        "zone": st.sampled_from(["Europe/Berlin", "Mars", ""]),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"title": st.just("t"), "id": st.just("r") | st.just(7), "detection": DETECTION},
    optional={
        "enforce": st.sampled_from(["block", "stop"]),
        "mode": st.sampled_from(["shadow", "off"]),
        "override": st.sampled_from([True, "yes"]),
        "scope": st.sampled_from([{"roles": ["x"]}, {"teams": []}]),
        "tests": st.sampled_from([[], [TRIED], [{**TRIED, "times": 0}], [{**TRIED, "times": 9}], [{"name": "n"}]]),
        "rate": st.just(1) | RATES,
        "active": WINDOWS | st.lists(WINDOWS, max_size=2),
    },
)
GOOD = st.fixed_dictionaries(
    {
        "title": st.just("t"),
        "id": st.just("r"),
        "enforce": st.just("block"),
        "detection": st.fixed_dictionaries({"s": FIELDS, "condition": st.just("s")}),
    },
    optional={"rate": RATES, "active": WINDOWS},
)
JUDGED_BY_LINT_ALONE = (
    *("wants text", "wants a number", "wants `true`", "is not a network", "is not a regular"),
    *("longer than `7d`", "no time zone", "no length"),
)


def test_the_published_file_is_what_the_code_says() -> None:
    jsonschema.Draft202012Validator.check_schema(rule_schema())
    assert (ROOT / "infra/schemas/policy-rule.json").read_text(encoding="utf-8") == render()


def test_each_shipped_rule_is_valid() -> None:
    for document in yaml.safe_load_all(starting_policy()):
        VALIDATOR.validate(document)


@given(DOCUMENTS | GOOD)
def test_schema_and_parser_agree(document: dict[str, Any]) -> None:
    """Only what a value means within its modifier is left to the parser."""
    _, faults = read_rules(json.dumps(document))
    valid = VALIDATOR.is_valid(document)
    if not faults:
        assert valid
    elif valid:
        assert any(part in faults[0].message for part in JUDGED_BY_LINT_ALONE), faults
