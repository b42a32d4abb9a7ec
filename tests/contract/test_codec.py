"""Foreign bytes become messages or a `DecodeError` with a countable reason, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.examples import EXAMPLES
from vaultak import wire
from vaultak.wire.codec import MAX_EVENT_BYTES, MAX_FUTURE_SKEW_US

MINIMAL: dict[str, Any] = {
    "schema_version": 1,
    "kind": "action",
    "agent_id": "a",
    "session_id": "s",
    "ts": "2026-03-02T08:08:42.539518Z",
    "action_id": "x",
    "action_type": "tool_call",
    "resource": "tool:t",
    "payload": {},
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def decode(**changes: object) -> wire.Event:
    return wire.decode_event(json.dumps({**MINIMAL, **changes}).encode())[0]


def reason_of(value: bytes | None, now_us: int | None = None) -> wire.Reason:
    with pytest.raises(wire.DecodeError) as caught:
        wire.decode_event(value, now_us=now_us)
    return caught.value.reason


def test_the_minimal_event_of_any_language_decodes() -> None:
    event, ts_us = wire.decode_event(json.dumps(MINIMAL).encode())
    assert isinstance(event, wire.Action)
    assert ts_us == 1772438922539518


def test_unknown_members_are_ignored_and_null_means_absent() -> None:
    assert decode(brand_new={"x": 1}) == decode(parent_action_id=None, labels=None) == decode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "invalid"),
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b'{"kind": NaN}', "malformed_json"),
        (b"[" * 100_000, "invalid"),
        (b"null", "invalid"),
        (b"{}", "invalid"),
        (json.dumps({**MINIMAL, "kind": "wish"}).encode(), "invalid"),
        (json.dumps({**MINIMAL, "action_type": "teleport"}).encode(), "invalid"),
        (json.dumps({**MINIMAL, "agent_id": ""}).encode(), "invalid"),
        (json.dumps({**MINIMAL, "agent_id": 7}).encode(), "invalid"),
        (json.dumps({**MINIMAL, "schema_version": 2}).encode(), "invalid"),
        (json.dumps({**MINIMAL, "payload": "text"}).encode(), "invalid"),
        (json.dumps({k: v for k, v in MINIMAL.items() if k != "session_id"}).encode(), "invalid"),
        (json.dumps({**MINIMAL, "ts": "yesterday, around noon"}).encode(), "bad_timestamp"),
        (json.dumps({**MINIMAL, "ts": "2026-03-02T08:08:42.539518"}).encode(), "bad_timestamp"),
        (json.dumps({**MINIMAL, "payload": {"x": "y" * MAX_EVENT_BYTES}}).encode(), "too_large"),
    ],
)
def test_bad_input_says_why(value: bytes | None, reason: str) -> None:
    assert reason_of(value) == reason


def test_an_event_from_the_future_is_refused_an_old_one_is_not() -> None:
    value = json.dumps(MINIMAL).encode()
    ts_us = wire.parse_ts_us(MINIMAL["ts"])
    assert reason_of(value, now_us=ts_us - MAX_FUTURE_SKEW_US - 1) == "clock_skew"
    assert wire.decode_event(value, now_us=ts_us - MAX_FUTURE_SKEW_US)
    assert wire.decode_event(value, now_us=ts_us + 10 * 365 * 86400 * 1_000_000)


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_a_decode_error(value: bytes) -> None:
    for decoder in (wire.decode_event, wire.decode_command, wire.decode_verdict, wire.decode_ack, wire.decode_state):
        try:
            decoder(value)
        except wire.DecodeError as e:
            assert e.reason in set(wire.Reason)


@given(st.sampled_from(sorted(MINIMAL)), json_values)
def test_no_json_in_any_place_raises_anything_but_a_decode_error(member: str, value: object) -> None:
    try:
        event, _ = wire.decode_event(json.dumps({**MINIMAL, member: value}).encode())
    except wire.DecodeError:
        return
    assert isinstance(event, wire.Action | wire.Outcome | wire.Context)


@given(st.dictionaries(st.text(max_size=10), json_values, max_size=5), st.text(max_size=50))
def test_encode_then_decode_is_the_same_event(payload: dict[str, Any], resource: str) -> None:
    event = wire.Action(**{k: v for k, v in MINIMAL.items() if k not in ("kind", "payload", "resource")},
                        payload=payload, resource=resource)  # fmt: skip
    again, _ = wire.decode_event(wire.encode(event))
    assert again == event
    assert wire.canonical_json(again) == wire.canonical_json(event)


@pytest.mark.parametrize("name", EXAMPLES)
def test_canonical_json_sorts_keys_and_leaves_members_out(name: str) -> None:
    text = wire.canonical_json(EXAMPLES[name], without=("ts",))
    members = json.loads(text)
    assert "ts" not in members
    assert list(members) == sorted(members)
    assert text == json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_chain_shows_any_change() -> None:
    first = EXAMPLES["action"]
    assert wire.chain_hash(first) == wire.chain_hash(wire.decode_event(wire.encode(first))[0])
    changed = json.loads(wire.encode(first)) | {"resource": "db://pg/crm/orders"}
    assert wire.chain_hash(changed) != wire.chain_hash(first)


@given(st.integers(0, 2**47), st.text(max_size=20))
def test_derived_ids_are_uuidv7_and_repeatable(ts_ms: int, part: str) -> None:
    import uuid

    one = wire.derived_uuid7(ts_ms * 1000, part, "pause")
    assert one == wire.derived_uuid7(ts_ms * 1000, part, "pause")
    assert one != wire.derived_uuid7(ts_ms * 1000, part, "kill")
    parsed = uuid.UUID(one)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == ts_ms


def test_fresh_ids_differ_and_sort_by_time() -> None:
    import uuid

    ids = [wire.uuid7() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(uuid.UUID(i).version == 7 for i in ids)
    assert [i[:13] for i in ids] == sorted(i[:13] for i in ids)


@given(st.integers(0, 4_000_000_000_000_000))
def test_timestamps_round_trip_to_the_microsecond(ts_us: int) -> None:
    assert abs(wire.parse_ts_us(wire.format_ts(ts_us / 1e6)) - ts_us) <= 1


@pytest.mark.parametrize(
    "value", [b'"null"null', b'{"kind":"action"}null', b"null\xff", b'[null]{"a":null', b"[" * 5000 + b"null"]
)
def test_bytes_that_break_off_after_a_null_are_refused_as_any_other(value: bytes) -> None:
    with pytest.raises(wire.DecodeError):
        wire.decode_event(value)
