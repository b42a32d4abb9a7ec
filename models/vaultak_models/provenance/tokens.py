"""Texts as sets of hashed tokens: enough to see where a value was said before, too little to read the text back."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import Any

MAX_TEXT = 32_768
MAX_TOKENS = 1_000
MAX_LEAVES = 48
MAX_DEPTH = 6
MAX_KEPT = 64
"""Longer tokens are worked out each time: what is kept is bounded in bytes, not only in number."""
SHORT = 80
"""Characters up to which a value names something; beyond it is prose, and only addresses in it are looked at."""

_TOKEN = re.compile(r"[^\W_][\w@.:/+%&?=#-]*[^\W_]|[^\W_]")
_PART = re.compile(r"[^\W_]+")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://(www\.)?|^www\.")
_ADDRESSING = frozenset("@/.:")
_SUFFIX = re.compile(r"(ing|ied|ies|ed|es|s|e)$")


def token_id(token: str) -> int:
    """32 bits that stand for a token. Two tokens may share one; a session holds too few for that to matter."""
    return _kept_id(token) if len(token) <= MAX_KEPT else text_id(token)


def text_id(token: str) -> int:
    """`token_id` of what will not come again soon."""
    return int.from_bytes(hashlib.blake2b(token.encode(errors="replace"), digest_size=4).digest())


_kept_id = functools.lru_cache(maxsize=65_536)(text_id)


def stem(word: str) -> str:
    """A word without its ending, so that `sends` and `sending` are `send`."""
    return _kept_stem(word) if len(word) <= MAX_KEPT else _stem(word)


def _stem(word: str) -> str:
    cut = _SUFFIX.sub("", word)
    return cut if len(cut) >= 3 else word


_kept_stem = functools.lru_cache(maxsize=65_536)(_stem)


def tokens(text: str, limit: int = MAX_TOKENS) -> list[int]:
    """The tokens of a text, without repetition, in order: words by stem, and addresses, numbers and names whole."""
    words = list(dict.fromkeys(_TOKEN.findall(text[:MAX_TEXT].lower())))
    found = dict.fromkeys(itertools.chain.from_iterable(map(_ids_of, words[:limit])))
    for word in words[limit:]:
        if len(found) >= limit:
            break
        found.update(dict.fromkeys(_ids_of(word)))
    return list(found)[:limit]


def _ids_of(word: str) -> tuple[int, ...]:
    return _kept_form_ids(word) if len(word) <= MAX_KEPT else _form_ids(word)


def _form_ids(token: str) -> tuple[int, ...]:
    return tuple(map(token_id, forms(token)))


_kept_form_ids = functools.lru_cache(maxsize=65_536)(_form_ids)


def forms(token: str) -> tuple[str, ...]:
    """What a token is remembered as: itself without a scheme, and its parts."""
    if token.isalnum():  # one word: nothing to take apart
        return (stem(token),)
    whole = _SCHEME.sub("", token).rstrip("/.:")
    parts = [stem(part) for part in _PART.findall(whole)]
    return (stem(whole),) if len(parts) <= 1 else (whole, *parts)


def is_address(token: str) -> bool:
    """Whether a token is an address, a path, an account or an identifier, not a word."""
    return len(token) >= 4 and (not _ADDRESSING.isdisjoint(token) or sum(map(str.isdigit, token)) >= 4)


_MAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]+")
_WEB = re.compile(r"(?:https?|wss?|ftp)://\S+|www\.[\w-]+\.\S+", re.IGNORECASE)


def is_web_address(value: str) -> bool:
    """Whether a value is nothing but the address of something on a network."""
    return len(value) <= SHORT and _WEB.fullmatch(value.strip()) is not None


def is_mail_address(value: str) -> bool:
    """Whether a value is nothing but somebody's mail address."""
    return len(value) <= SHORT and _MAIL.fullmatch(value) is not None


def name_of(value: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of a value: the tokens of what it names as a whole (none for prose), and those of addresses in it."""
    text = value[:MAX_TEXT].lower()
    if text.isalnum() and text.isascii() and len(text) <= SHORT:  # one word or number: no need to look for more
        return (token_id(stem(text)),), (token_id(text),) if is_address(text) else ()
    found = [_SCHEME.sub("", match[0]).rstrip("/.:") for match in _TOKEN.finditer(text)][:MAX_TOKENS]
    addresses = tuple(dict.fromkeys(token_id(token) for token in found if is_address(token)))[:16]
    whole = tuple(dict.fromkeys(token_id(stem(token)) for token in found)) if len(value) <= SHORT else ()
    return whole, addresses


def leaves(payload: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The values of a payload as text with the member they stand under, at most `MAX_LEAVES`. Never raises."""
    todo: list[tuple[str, Any, int]] = [(str(name), value, 0) for name, value in list(payload.items())[:MAX_LEAVES]]
    todo.reverse()
    given = 0
    while todo and given < MAX_LEAVES:
        name, value, depth = todo.pop()
        if isinstance(value, dict) and depth < MAX_DEPTH:
            todo.extend((str(k), v, depth + 1) for k, v in reversed(list(value.items())[:MAX_LEAVES]))
        elif isinstance(value, list | tuple) and depth < MAX_DEPTH:
            todo.extend((name, v, depth + 1) for v in reversed(value[:MAX_LEAVES]))
        elif isinstance(value, str) and value:
            given += 1
            yield name, value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            given += 1
            yield name, number_text(value)


def number_text(value: float) -> str:
    """A number as text; empty for an integer of more digits than Python will print."""
    try:
        return str(value)[:SHORT]
    except ValueError:
        return ""
