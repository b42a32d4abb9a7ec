"""The structs, the checked-in JSON Schemas, `infra/asyncapi.yaml` and the topics say the same."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from contract.examples import EXAMPLES
from vaultak import wire
from vaultak.wire.schemas import MESSAGES, render, schema_of

INFRA = Path(__file__).parents[2] / "infra"
ASYNCAPI = yaml.safe_load((INFRA / "asyncapi.yaml").read_text())


@pytest.mark.parametrize("name", MESSAGES)
def test_checked_in_schema_is_the_one_the_structs_give(name: str) -> None:
    path = INFRA / "schemas" / f"{name}.v1.json"
    assert path.read_text() == render(name), "run `make schemas`"


@pytest.mark.parametrize("name", MESSAGES)
def test_what_we_encode_validates_against_the_schema(name: str) -> None:
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(wire.encode(EXAMPLES[name])), schema)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_without_its_required_members_fails_the_schema(name: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, schema_of(name))


def test_asyncapi_documents_every_topic() -> None:
    addresses = {channel["address"] for channel in ASYNCAPI["channels"].values()}
    assert addresses == set(wire.Topics().all())


def test_asyncapi_references_exist() -> None:
    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for value in node for r in references(value)] if isinstance(node, list) else []

    found = references(ASYNCAPI)
    assert found
    for reference in found:
        if reference.startswith("#/"):
            node = ASYNCAPI
            for part in reference[2:].split("/"):
                node = node[part]
        else:
            assert (INFRA / reference).is_file(), reference


def test_every_schema_is_referenced() -> None:
    text = (INFRA / "asyncapi.yaml").read_text()
    assert [n for n in MESSAGES if f"schemas/{n}.v1.json" not in text] == []
