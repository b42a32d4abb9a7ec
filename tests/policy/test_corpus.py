"""The semantics of rules as data: `corpus/*.yaml` says which decision, rules and errors each event comes to.

A case has `rules` by name (title and id follow from it, a block is asked for where nothing is said) and `events`, each
with what it comes to, and `at` what time. The events of a case are one agent's, in this order: rates count them.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import yaml

from vaultak.policy.rules import CompiledRules, Occasion, Tally
from vaultak_streams.policy import parse_rules
from vaultak_streams.policy.source import bundle_of

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.yaml"))


def cases() -> list[Any]:
    return [
        pytest.param(case["rules"], case["events"][: position + 1], id=f"{path.stem}: {case['name']} {position}")
        for path in CORPUS
        for case in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        for position in range(len(case["events"]))
    ]


def compiled(rules: dict[str, dict[str, Any]]) -> CompiledRules:
    documents = []
    for name, short in rules.items():
        detection = short.get("detection") or {"s": short["fields"], "condition": "s"}
        rest = {key: value for key, value in short.items() if key not in ("fields", "detection")}
        documents.append({"title": name, "id": name, "enforce": "block", **rest, "detection": detection})
    sources = parse_rules(yaml.safe_dump_all(documents), "case")
    return CompiledRules(bundle_of([source.rule for source in sources], "case"))


def occasion(expected: dict[str, Any], tally: Tally) -> Occasion:
    return Occasion(dt.datetime.fromisoformat(expected["at"]).timestamp() if "at" in expected else None, tally)


@pytest.mark.parametrize(("rules", "events"), cases())
def test_the_semantics_are_as_written(rules: dict[str, dict[str, Any]], events: list[dict[str, Any]]) -> None:
    policy, tally = compiled(rules), Tally()
    for expected in events:
        verdict = policy.evaluate(expected["event"], occasion(expected, tally))
    assert verdict.decision == expected.get("decision", "allow")
    assert list(verdict.rules) == expected.get("rules", [])
    assert list(verdict.shadow) == expected.get("shadow", [])
    assert [line.split("`")[1] for line in verdict.errors] == expected.get("errors", [])
    assert verdict.overridden is expected.get("overridden", False)
    assert verdict.approval is expected.get("approval", False)
