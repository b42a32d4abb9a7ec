"""JSON Schema of a rule document, for completion in editors: `python -m vaultak_streams.policy.schema FILE`.

Made from the structs and the table of modifiers that the parser reads by. It accepts whatever the parser accepts; names
of selections in conditions, regular expressions and networks are for `vaultak policy lint` to judge.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from vaultak.policy.rules import Operator
from vaultak_streams.policy.source import RuleFile

_SCALAR = {"type": ["string", "number", "boolean", "null"]}
_DESCRIPTIONS = {
    "detection": "Selections by name, and the `condition` that joins them.",
    "enforce": "What a match asks for; the most severe match wins.",
    "mode": "`shadow`: evaluated and reported, decides nothing.",
    "on_error": "What a rule that cannot be evaluated asks for: `deny` a block, `allow` an alert.",
    "override": "On an `allow` rule: it stands above whatever else matches.",
    "rate": "The rule matches only from more than `count` times within `window` on, for the same values of `by`.",
    "active": "The rule matches only in these hours; `from` later than `to` runs over midnight.",
    "scope": "Whom the rule is for; all that are given must fit.",
    "tests": "Events and whether the rule matches them: `vaultak policy test`.",
    "maturity": "How far the rule is trusted.",
}


def rule_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of one document of a rule file."""
    schema = msgspec.json.schema(RuleFile)
    definitions: dict[str, Any] = schema.pop("$defs")
    body: dict[str, Any] = definitions.pop(schema.pop("$ref").rsplit("/", 1)[-1])
    properties = body["properties"]
    properties["detection"] = {"$ref": "#/$defs/Detection"}
    for name, text in _DESCRIPTIONS.items():
        properties[name]["description"] = text
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:vaultak:policy-rule:v1",
        **body,
        "$defs": definitions | _detection(),
    }


def _detection() -> dict[str, Any]:
    """Modifiers stand in any order, `all` any number of times, at most one other."""
    known = "|".join(op.value for op in Operator)
    key = rf"^[^|]+(\|all)*(\|({known}))?(\|all)*$"
    fields = {
        "type": "object",
        "minProperties": 1,
        "patternProperties": {key: {"$ref": "#/$defs/Values"}},
        "additionalProperties": False,
    }
    one, selection = {"$ref": "#/$defs/Fields"}, {"$ref": "#/$defs/Selection"}
    return {
        "Values": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "minItems": 1}]},
        "Fields": fields,
        "Selection": {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]},
        "Detection": {
            "type": "object",
            "properties": {"condition": {"type": "string", "minLength": 1}},
            "required": ["condition"],
            "minProperties": 2,
            "additionalProperties": selection,
        },
    }


def render() -> str:
    return json.dumps(rule_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
