"""Messages that were once on a topic decode for ever.

`corpus/v1.jsonl` only grows: each line carries a digest over its own text and the previous line's digest, so a line
that is edited or removed shows. To add messages: `python tests/contract/test_corpus.py NAME JSON`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import msgspec
import pytest

from vaultak import wire
from vaultak.wire.schemas import MESSAGES

CORPUS = Path(__file__).parent / "corpus" / "v1.jsonl"
LINES = [json.loads(line) for line in CORPUS.read_text().splitlines()]


def digest(previous: str, value: str) -> str:
    return hashlib.sha256(f"{previous}\n{value}".encode()).hexdigest()


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line['name']}-{line['digest'][:8]}")
def test_every_message_ever_published_still_decodes(line: dict[str, str]) -> None:
    message = msgspec.json.decode(line["value"], type=MESSAGES[line["name"]])
    known = json.loads(wire.encode(message))
    sent = json.loads(line["value"])
    assert {k: v for k, v in sent.items() if k in known} == known, "a member changed its meaning"


def test_the_corpus_only_grows() -> None:
    previous = ""
    for line in LINES:
        assert line["digest"] == digest(previous, line["value"]), "a line was edited or removed"
        previous = line["digest"]


def test_the_corpus_has_every_kind_of_message() -> None:
    assert {line["name"] for line in LINES} == set(MESSAGES)


if __name__ == "__main__":
    name, value = sys.argv[1], sys.argv[2]
    msgspec.json.decode(value, type=MESSAGES[name])
    row = {"name": name, "value": value, "digest": digest(LINES[-1]["digest"] if LINES else "", value)}
    with CORPUS.open("a") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
