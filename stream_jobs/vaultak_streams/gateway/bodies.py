"""Request bodies to events: plain JSON, one or an array; CloudEvents, structured, batched or with headers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from vaultak.wire.codec import MAX_FUTURE_SKEW_US
from vaultak.wire.timestamps import parse_ts_us
from vaultak_streams.gateway import cloud_events
from vaultak_streams.gateway.messages import Sent
from vaultak_streams.gateway.refusals import RefusedError, invalid, malformed, too_large

JSON = "application/json"

_one: msgspec.json.Decoder[Sent] = msgspec.json.Decoder(Sent)
_raw = msgspec.json.Decoder(list[msgspec.Raw])


class Body(msgspec.Struct, frozen=True):
    """What a request carried. `batch`: an array, which is answered by an array."""

    events: tuple[Sent, ...]
    batch: bool
    cloud_events: bool


def read_body(headers: Mapping[str, str], body: bytes, max_events: int) -> Body:
    """Raises `RefusedError`: all of a request is taken, or nothing of it."""
    kind = headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if kind == cloud_events.STRUCTURED:
        parts, batch, clouds = [cloud_events.unwrap(body)], False, True
    elif kind == cloud_events.BATCH:
        parts, batch, clouds = [cloud_events.unwrap(part) for part in _array(body, max_events)], True, True
    elif kind in (JSON, "") and "ce-type" in headers:
        parts, batch, clouds = [cloud_events.from_headers(headers, body)], False, True
    elif kind == JSON:
        batch, clouds = body.lstrip()[:1] == b"[", False
        parts = [bytes(part) for part in _array(body, max_events)] if batch else [body]
    else:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {JSON}, {cloud_events.STRUCTURED} or {cloud_events.BATCH}"
        )
    events = tuple(_event(part, f"[{index}]: " if batch else "") for index, part in enumerate(parts))
    return Body(events, batch, clouds)


def _array(body: bytes, max_events: int) -> list[msgspec.Raw]:
    try:
        parts = _raw.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise malformed(f"the body is no JSON array: {e}") from None
    if not parts:
        raise invalid("the array is empty")
    if len(parts) > max_events:
        raise too_large(f"{len(parts)} events; at most {max_events} in one request")
    return parts


def _event(part: bytes, where: str) -> Sent:
    try:
        sent = _one.decode(part)
    except msgspec.ValidationError as e:
        raise invalid(f"{where}{e}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise malformed(f"{where}no JSON: {e}") from None
    if sent.ts is not None:
        _check_time(sent.ts, where)
    _check_text(sent, where)
    return sent


def _check_time(ts: str, where: str) -> None:
    try:
        ts_us = parse_ts_us(ts)
    except (ValueError, OverflowError) as e:
        raise invalid(f"{where}`ts`: {e}") from None
    if ts_us - time.time_ns() // 1000 > MAX_FUTURE_SKEW_US:
        raise invalid(f"{where}`ts` is more than a day ahead")


def _check_text(sent: Sent, where: str) -> None:
    """What becomes a key or a name has no control characters."""
    for name in ("agent_id", "session_id"):
        if not getattr(sent, name).isprintable():
            raise invalid(f"{where}`{name}` has characters that do not print")
    if sent.agent_id == "*":
        raise invalid(f"{where}`agent_id`: `*` stands for all agents")
