"""The values of a payload with what they name: each worked out once, however often it is used."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from vaultak_models.provenance.known import place_of
from vaultak_models.provenance.tokens import (
    MAX_LEAVES,
    SHORT,
    is_mail_address,
    is_web_address,
    leaves,
    name_of,
    number_text,
)

MAX_MEMBER = 64
"""Longer names of members are not kept."""


class Mention(msgspec.Struct, frozen=True, gc=False):
    """A value under a member of a payload."""

    member: str
    value: str
    names: tuple[int, ...]
    """Tokens of what the value names as a whole; none for prose."""
    tokens: tuple[int, ...]
    """`names`, or for prose the addresses in it."""
    place: int
    """The value in this member: the same account is another thing as sender and as receiver."""
    short_member: str
    address: bool = False
    """Whether the value as a whole is a web or mail address."""
    outside: bool = False
    """Whether the value as a whole is a web address: looking there tells its owner something."""


def mentions(payload: dict[str, Any]) -> list[Mention]:
    """What a payload mentions, at most `MAX_LEAVES` values, in order. Never raises."""
    if len(payload) > MAX_LEAVES:
        return [_mention(member, value) for member, value in leaves(payload)]
    found = []
    for member, value in payload.items():
        kind = type(value)
        if kind is str:
            if not value:
                continue
            known = len(value) <= SHORT and len(member) <= MAX_MEMBER
            found.append(_kept(member, value) if known else _read(member, value))
        elif kind is int or kind is float:
            found.append(_mention(member, number_text(value)))
        elif value is not None and kind is not bool:
            return [_mention(member, value) for member, value in leaves(payload)]
    return found


def _mention(member: str, value: str) -> Mention:
    return _kept(member, value) if len(value) <= SHORT and len(member) <= MAX_MEMBER else _read(member, value)


def _read(member: str, value: str) -> Mention:
    names, addresses = name_of(value)
    short = member[:24].encode(errors="replace").decode()
    web = mail = False
    if "." in value:
        web, mail = is_web_address(value), is_mail_address(value)
    return Mention(member, value, names, names or addresses, place_of(member, value), short, web or mail, web)


_kept = functools.lru_cache(maxsize=32_768)(_read)
