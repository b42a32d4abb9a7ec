"""Bytes to structs and back. Whatever does not decode says why in one of a few words that can be counted."""

from __future__ import annotations

import enum
from typing import TypeVar

import msgspec

from vaultak.wire.commands import Ack, Command, StateRecord
from vaultak.wire.dead_letters import DeadLetter
from vaultak.wire.events import Event
from vaultak.wire.models import ModelPromotion
from vaultak.wire.peers import PeerSighting
from vaultak.wire.policies import PolicyRecord
from vaultak.wire.timestamps import parse_ts_us
from vaultak.wire.verdicts import Verdict

MAX_EVENT_BYTES = 512 * 1024
"""An event larger than this is refused: a payload is capped at 16 KiB by the SDK, contents likewise."""

MAX_FUTURE_SKEW_US = 24 * 3600 * 1_000_000
"""An event from further in the future than this would poison rates and time-of-day baselines."""

T = TypeVar("T")


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding foreign bytes can raise."""


class Reason(enum.StrEnum):
    """Why bytes were refused."""

    TOO_LARGE = "too_large"
    MALFORMED_JSON = "malformed_json"
    INVALID = "invalid"
    """Well-formed JSON that is not a message: a member missing, of the wrong type, out of range, or an unknown kind."""
    BAD_TIMESTAMP = "bad_timestamp"
    CLOCK_SKEW = "clock_skew"
    KEY_MISMATCH = "key_mismatch"
    UNAUTHENTICATED = "unauthenticated"
    """Nobody who may speak for the agent vouches for it."""
    UNJUDGED = "unjudged"
    """Decoded, but the step failed on it."""


class DecodeError(ValueError):
    """Foreign bytes that are not a message. `reason` is countable, `detail` is for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


_encoder = msgspec.json.Encoder()
_events = msgspec.json.Decoder(Event)
_verdicts = msgspec.json.Decoder(Verdict)
_commands = msgspec.json.Decoder(Command)
_states = msgspec.json.Decoder(StateRecord)
_policies = msgspec.json.Decoder(PolicyRecord)
_promotions = msgspec.json.Decoder(ModelPromotion)
_sightings = msgspec.json.Decoder(PeerSighting)
_acks = msgspec.json.Decoder(Ack)
_dead_letters = msgspec.json.Decoder(DeadLetter)

encode = _encoder.encode


def _decode(decoder: msgspec.json.Decoder[T], value: bytes | None) -> T:
    if value is None:
        raise DecodeError(Reason.INVALID, "the message has no value")
    if len(value) > MAX_EVENT_BYTES:
        raise DecodeError(Reason.TOO_LARGE, f"{len(value)} bytes; at most {MAX_EVENT_BYTES} are accepted")
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as e:
        raise DecodeError(Reason.INVALID, str(e)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise DecodeError(Reason.MALFORMED_JSON, str(e)) from None


def _without_nulls(value: bytes) -> bytes:
    """Producers in other languages often send an absent member as null: the same thing, as in canonical JSON."""
    try:
        members = msgspec.json.decode(value)
    except UNREADABLE:  # what is wrong came before: it was not read to its end
        return value
    if not isinstance(members, dict):
        return value
    return _encoder.encode({k: v for k, v in members.items() if v is not None})


def decode_event(value: bytes | None, *, now_us: int | None = None) -> tuple[Event, int]:
    """An event and its time in microseconds. Raises `DecodeError`, and nothing else, whatever the bytes.

    With `now_us`, events from more than a day in the future are refused too. Old ones are not: recorded runs
    are fed in as well, and a spool can be days late.
    """
    try:
        event = _decode(_events, value)
    except DecodeError as e:
        if e.reason is not Reason.INVALID or value is None or b"null" not in value:
            raise
        event = _decode(_events, _without_nulls(value))
    try:
        ts_us = parse_ts_us(event.ts)
    except (ValueError, OverflowError) as e:
        raise DecodeError(Reason.BAD_TIMESTAMP, str(e)) from None
    if now_us is not None and ts_us - now_us > MAX_FUTURE_SKEW_US:
        raise DecodeError(Reason.CLOCK_SKEW, f"`ts` {event.ts} is {(ts_us - now_us) / 1e6:.0f} s ahead")
    return event, ts_us


def decode_verdict(value: bytes | None) -> Verdict:
    return _decode(_verdicts, value)


def decode_command(value: bytes | None) -> Command:
    return _decode(_commands, value)


def decode_policy(value: bytes | None) -> PolicyRecord:
    return _decode(_policies, value)


def decode_promotion(value: bytes | None) -> ModelPromotion:
    return _decode(_promotions, value)


def decode_peer_sighting(value: bytes | None) -> PeerSighting:
    return _decode(_sightings, value)


def decode_state(value: bytes | None) -> StateRecord:
    return _decode(_states, value)


def decode_ack(value: bytes | None) -> Ack:
    return _decode(_acks, value)


def decode_dead_letter(value: bytes | None) -> DeadLetter:
    return _decode(_dead_letters, value)
