"""JSON Schemas of every message, generated from the structs: `python -m vaultak.wire.schemas infra/schemas`.

The files are checked in for producers and consumers in other languages; a test fails when they are stale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from vaultak.wire.anchors import Anchor
from vaultak.wire.commands import Ack, Command, StateRecord
from vaultak.wire.dead_letters import DeadLetter
from vaultak.wire.events import Action, Context, Outcome
from vaultak.wire.incidents import Incident
from vaultak.wire.models import ModelPromotion
from vaultak.wire.peers import PeerSighting
from vaultak.wire.policies import PolicyRecord
from vaultak.wire.verdicts import Verdict

MESSAGES: dict[str, type[msgspec.Struct]] = {
    "action": Action,
    "outcome": Outcome,
    "context": Context,
    "verdict": Verdict,
    "command": Command,
    "agent-state": StateRecord,
    "ack": Ack,
    "incident": Incident,
    "policy": PolicyRecord,
    "model-promotion": ModelPromotion,
    "peer-sighting": PeerSighting,
    "dead-letter": DeadLetter,
    "anchor": Anchor,
}


def schema_of(name: str) -> dict[str, Any]:
    """The schema (draft 2020-12) of one message, self-contained, its definitions inlined under `$defs`."""
    schema = msgspec.json.schema(MESSAGES[name])
    reference = schema.pop("$ref").rsplit("/", 1)[-1]
    definitions: dict[str, Any] = schema.pop("$defs")
    body: dict[str, Any] = definitions.pop(reference)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:vaultak:{name}:v1",
        **body,
        **({"$defs": definitions} if definitions else {}),
    }


def render(name: str) -> str:
    return json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    for name in MESSAGES:
        (directory / f"{name}.v1.json").write_text(render(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
