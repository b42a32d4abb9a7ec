"""One action as features see it and as a baseline learns it."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import msgspec

from vaultak_models.baseline.moments import Positive, Time
from vaultak_models.baseline.tally import Count
from vaultak_models.target import whole

MAX_FIELDS = 8
_SIZE_SAMPLE = 65_536

_encode = msgspec.json.encode


class Sighting(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An action as a baseline learns it."""

    kind: str
    resource: str
    resource_id: Annotated[int, msgspec.Meta(ge=0, lt=2**48)]
    group: str
    log_size: Positive
    fields: tuple[str, ...]
    """Members of the payload."""
    hour: Annotated[int, msgspec.Meta(ge=0, lt=24)]
    ts_us: Time
    destructiveness: Positive
    sensitivity: Positive
    unmentioned: tuple[str, ...] = ()
    """Members of the payload whose values nobody named in this session before."""
    repeats: Count = 0
    """Actions of this kind in this session before this one."""
    usual_kind: bool = False
    """Other agents of its role do this kind of thing."""
    usual_place: bool = False
    """Other agents of its role work in this place."""


def fields_of(payload: dict[str, Any]) -> tuple[str, ...]:
    """The names of the first members of a payload."""
    names = tuple(payload)
    return _fields(names) if len(names) <= MAX_FIELDS else _fields(names[:MAX_FIELDS])


@functools.lru_cache(maxsize=1_024)
def _fields(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(whole(str(name)[:24]) for name in names))


def size_of(payload: dict[str, Any]) -> int:
    """Bytes of a payload that the producer has not counted, as JSON."""
    try:
        return len(_encode(payload))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return _SIZE_SAMPLE
