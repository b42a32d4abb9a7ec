"""Every parser of foreign bytes: whatever it is given, it answers or refuses in its own words.

Each starts from something genuine and gets it cut, doubled, with bytes flipped and foreign pieces put in.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from contract.examples import EXAMPLES
from vaultak import wire
from vaultak.control.policies import pack, unpack
from vaultak.errors import VaultakError
from vaultak.mcp_proxy.messages import UnreadableError, read
from vaultak.policy.rules import Bundle
from vaultak.publish.frames import encode_body, encode_frame, marker_of, read_frames
from vaultak.wire.codec import DecodeError
from vaultak_models.model import SHIPPED, ModelError, RiskModel
from vaultak_models.registry import Registry
from vaultak_streams.gateway.keys import ApiKeys
from vaultak_streams.otel.spans import ExportError, from_json, from_protobuf
from vaultak_streams.policy.source import read_rules
from vaultak_streams.policy_files import load_policy
from vaultak_streams.recordings import RecordingError, read_lines
from vaultak_streams.store.client import parse_dsn

EXAMPLES_PER_PARSER = 150

PIECES = st.sampled_from(
    [
        b"null",
        b"{}",
        b"[",
        b'"',
        b"\xff",
        b"\x00",
        b"-1",
        b"1e999",
        b"9" * 40,
        b"\\ud800",
        b"[" * 2000,
        b'{"a":' * 2000,
        b"&a *a",
    ]
)


@st.composite
def mutated(draw: st.DrawFn, genuine: bytes) -> bytes:
    """The genuine bytes after up to four changes."""
    data = bytearray(genuine)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        change = draw(st.integers(0, 3))
        if change == 0:
            del data[at : at + draw(st.integers(1, 64))]
        elif change == 1:
            data[at:at] = draw(PIECES | st.binary(max_size=8))
        elif change == 2 and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif data:
            start = draw(st.integers(0, len(data) - 1))
            data[at:at] = data[start : start + 64]
    return bytes(data)


def in_a_file(parse: Callable[[Path], object], suffix: str = "") -> Callable[[bytes], object]:
    def parse_bytes(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"foreign{suffix}"
            path.write_bytes(data)
            return parse(path)

    return parse_bytes


def model_file(data: bytes) -> object:
    """With the checksum that the damaged arrays have: whoever made them made the manifest too."""
    manifest = json.loads((SHIPPED / "manifest.json").read_bytes())
    manifest["sha256"] = hashlib.sha256(data).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.npz").write_bytes(data)
        (Path(folder) / "manifest.json").write_text(json.dumps(manifest))
        return RiskModel.load(folder)


def manifest_file(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.npz").write_bytes((SHIPPED / "model.npz").read_bytes())
        (Path(folder) / "manifest.json").write_bytes(data)
        return RiskModel.load(folder)


def current_file(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "current.json").write_bytes(data)
        return Registry(Path(folder)).judging()


def pushed_bundle(data: bytes) -> object:
    record = msgspec.structs.replace(EXAMPLES["policy"], bundle=data)
    return unpack(record)


def unzipped_arrays() -> bytes:
    """The model's arrays without compression: damage reaches them."""
    out = io.BytesIO()
    with zipfile.ZipFile(SHIPPED / "model.npz") as packed, zipfile.ZipFile(out, "w") as plain:
        for name in packed.namelist():
            plain.writestr(zipfile.ZipInfo(name), packed.read(name))
    return out.getvalue()


RULE = b"""title: t
id: 5f0d6a52-0a55-4a3c-9a8e-000000000001
level: high
enforce: block
detection:
  selection: {action_type: tool_call, resource|startswith: 'tool:'}
  condition: selection
"""
SPAN = b'{"traceId":"0af7651916cd43dd8448eb211c80319c","name":"n","startTimeUnixNano":"1","attributes":[]}'
SPANS_JSON = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + SPAN + b"]}]}]}"
SPANS = ExportTraceServiceRequest().SerializeToString() + b"\n\x02\x12\x00"
KEYS = b'[{"key_id":"a","sha256":"b","agents":[],"created":""}]'
LINES = gzip.compress(b"{}\n{}\n")
ADDRESS = b"clickhouse://u:p@h:1/d?verify=0"
MCP = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}'
FRAME = encode_frame(encode_body("t", b"k", b"v" * 50, [("h", b"v")]), marker_of("spool"))

PARSERS: dict[str, tuple[Callable[[bytes], object], bytes, tuple[type[Exception], ...]]] = {
    "event": (wire.decode_event, wire.encode(EXAMPLES["action"]), (DecodeError,)),
    "verdict": (wire.decode_verdict, wire.encode(EXAMPLES["verdict"]), (DecodeError,)),
    "command": (wire.decode_command, wire.encode(EXAMPLES["command"]), (DecodeError,)),
    "policy": (wire.decode_policy, wire.encode(EXAMPLES["policy"]), (DecodeError,)),
    "sighting": (wire.decode_peer_sighting, wire.encode(EXAMPLES["peer-sighting"]), (DecodeError,)),
    "promotion": (wire.decode_promotion, wire.encode(EXAMPLES["model-promotion"]), (DecodeError,)),
    "state": (wire.decode_state, wire.encode(EXAMPLES["agent-state"]), (DecodeError,)),
    "ack": (wire.decode_ack, wire.encode(EXAMPLES["ack"]), (DecodeError,)),
    "dead letter": (wire.decode_dead_letter, wire.encode(EXAMPLES["dead-letter"]), (DecodeError,)),
    "bundle that was pushed": (pushed_bundle, pack(Bundle(format=1, version="r-0", rules=())), (VaultakError,)),
    "rules": (lambda data: read_rules(data.decode("utf-8", "replace")), RULE, ()),
    "policy file": (in_a_file(load_policy, ".yaml"), b"max_risk_score: 0.5\nblocked_resources: [a]\n", (VaultakError,)),
    "policy file, JSON": (in_a_file(load_policy, ".json"), b'{"max_risk_score": 0.5}', (VaultakError,)),
    "arrays of a model": (model_file, unzipped_arrays(), (ModelError,)),
    "packed arrays of a model": (model_file, (SHIPPED / "model.npz").read_bytes(), (ModelError,)),
    "manifest of a model": (manifest_file, (SHIPPED / "manifest.json").read_bytes(), (ModelError,)),
    "which model judges": (current_file, b'{"version":"shipped","before":[],"epoch":1}', (VaultakError,)),
    "API keys": (in_a_file(lambda path: ApiKeys(path).all()), KEYS, (VaultakError,)),
    "spans, protobuf": (lambda data: list(from_protobuf(data)), SPANS, (ExportError,)),
    "spans, JSON": (lambda data: list(from_json(data)), SPANS_JSON, (ExportError,)),
    "MCP message": (read, MCP, (UnreadableError,)),
    "frames of a spool": (lambda data: list(read_frames(data, marker_of("spool"), 0, len(data))), FRAME * 3, ()),
    "recording": (in_a_file(lambda path: list(read_lines(path)), ".jsonl.gz"), LINES, (RecordingError,)),
    "address of a store": (lambda data: parse_dsn(data.decode("utf-8", "replace")), ADDRESS, (VaultakError,)),
}  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_genuine_is_taken(name: str) -> None:
    parse, genuine, refusals = PARSERS[name]
    if name == "bundle that was pushed":
        with pytest.raises(refusals, match="it says version"):
            parse(genuine)
    else:
        parse(genuine)


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_not_is_refused_in_its_own_words(name: str) -> None:
    parse, genuine, refusals = PARSERS[name]

    @settings(max_examples=EXAMPLES_PER_PARSER, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(mutated(genuine) | st.binary(max_size=200))
    def check(data: bytes) -> None:
        with contextlib.suppress(*refusals):
            parse(data)

    check()


def test_a_model_that_unpacks_to_gigabytes_is_refused_unopened() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file, file.open("feature.npy", "w") as entry:
        for _ in range(300):
            entry.write(bytes(1 << 20))
    with pytest.raises(ModelError, match="unpacks to more"):
        model_file(out.getvalue())
