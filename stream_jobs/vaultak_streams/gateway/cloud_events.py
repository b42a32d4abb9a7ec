"""CloudEvents 1.0 over HTTP: structured and batched JSON, and the binary mode with `ce-` headers.

What the envelope says fills in what the data leaves out: `id` the action's id, `time` its time, `source`
(`/agents/<id>`) the agent, `type` (`vaultak.action.v1`) the kind.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from vaultak.wire import format_ts
from vaultak_streams.gateway.messages import Answer
from vaultak_streams.gateway.refusals import invalid, malformed

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

_KINDS = {"vaultak.action.v1": "action", "vaultak.outcome.v1": "outcome", "vaultak.context.v1": "context"}
_AGENTS = "/agents/"


class Envelope(msgspec.Struct, kw_only=True):
    """The attributes that are looked at."""

    specversion: str
    id: str
    source: str
    type: str
    time: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: str = ""


def unwrap(body: bytes | msgspec.Raw) -> bytes:
    """The event in a structured CloudEvent, as JSON. Raises `RefusedError`."""
    try:
        envelope = msgspec.json.decode(body, type=Envelope)
    except msgspec.ValidationError as e:
        raise invalid(f"no CloudEvent: {e}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise malformed(f"no JSON: {e}") from None
    if envelope.data_base64:
        raise invalid("`data_base64`: an event is JSON, in `data`")
    return _filled(envelope, bytes(envelope.data))


def from_headers(headers: Mapping[str, str], body: bytes) -> bytes:
    """The event of the binary mode: attributes in headers, percent-encoded, data in the body."""
    said = {name: unquote(headers.get(f"ce-{name}", "")) for name in ("specversion", "id", "source", "type", "time")}
    return _filled(msgspec.convert(said, Envelope), body)


def _filled(envelope: Envelope, data: bytes) -> bytes:
    if envelope.specversion != "1.0":
        raise invalid(f"`specversion`: `{envelope.specversion[:20]}` is not 1.0")
    if envelope.type not in _KINDS:
        raise invalid(f"`type`: `{envelope.type[:60]}` is none of {', '.join(_KINDS)}")
    try:
        members: Any = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise malformed(f"`data` is no JSON: {e}") from None
    if not isinstance(members, dict):
        raise invalid("`data` is no JSON object")
    kind = _KINDS[envelope.type]
    if members.setdefault("kind", kind) != kind:
        raise invalid(f"`type` says {kind}, `kind` says otherwise")
    if envelope.source.startswith(_AGENTS):
        members.setdefault("agent_id", unquote(envelope.source.removeprefix(_AGENTS)))
    if kind == "action" and envelope.id:
        members.setdefault("action_id", envelope.id)
    if envelope.time:
        members.setdefault("ts", envelope.time)
    return msgspec.json.encode(members)


def wrapped(answer: Answer, agent_id: str) -> dict[str, Any]:
    """An answer as a CloudEvent, `vaultak.answer.v1`."""
    return {
        "specversion": "1.0",
        "id": answer.action_id,
        "type": "vaultak.answer.v1",
        "source": "/gateway",
        "subject": f"{_AGENTS}{agent_id}",
        "time": format_ts(time.time()),
        "datacontenttype": "application/json",
        "data": msgspec.to_builtins(answer),
    }
