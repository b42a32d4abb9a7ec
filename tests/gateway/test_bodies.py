"""Whatever bytes come, they are events or refused: never an error of the gateway's own."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.serving import action
from vaultak.wire import encode
from vaultak.wire.codec import decode_event
from vaultak_streams.gateway.bodies import read_body
from vaultak_streams.gateway.messages import ActionSent
from vaultak_streams.gateway.refusals import RefusedError

KINDS = st.sampled_from(
    ["application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "text/plain", ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    [*action(), "ts", "action_id", "labels", "trace_id", "specversion", "type", "data", "source", "id"]
)


@given(KINDS, st.binary(max_size=300), st.booleans())
def test_bytes_are_events_or_refused(kind: str, body: bytes, binary_mode: bool) -> None:
    headers = {"content-type": kind} | (
        {"ce-type": "vaultak.action.v1", "ce-specversion": "1.0"} if binary_mode else {}
    )
    with contextlib.suppress(RefusedError):
        read_body(headers, body, 10)


@given(KINDS, st.dictionaries(MEMBERS, JSON, max_size=6))
def test_events_with_a_member_gone_wrong_are_events_or_refused(kind: str, changes: dict[str, Any]) -> None:
    body = json.dumps(action() | changes).encode()
    for text in (body, b"[%b]" % body):
        with contextlib.suppress(RefusedError):
            read_body({"content-type": kind}, text, 10)


@given(st.dictionaries(MEMBERS, JSON, max_size=3))
def test_what_is_taken_the_wire_takes_too(changes: dict[str, Any]) -> None:
    try:
        [sent] = read_body({"content-type": "application/json"}, json.dumps(action() | changes).encode(), 10).events
    except RefusedError:
        return
    if isinstance(sent, ActionSent):
        members = json.loads(encode(sent)) | {"action_id": sent.action_id or "made-here"}
        event, _ = decode_event(json.dumps(members | {"ts": sent.ts or "2026-01-01T00:00:00Z"}).encode())
        assert (event.agent_id, event.session_id) == (sent.agent_id, sent.session_id)
