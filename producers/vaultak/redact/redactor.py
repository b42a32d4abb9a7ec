"""Takes secrets out of JSON-like values.

Three ways in: the name of a member (`password`, `api_key` ...), the shape of a value (formats of well-known issuers,
private keys, JSON web tokens, credentials in URLs, card numbers with a valid checksum), and a name in running text
(`PASSWORD=x`, `--token x`). What is found is replaced by `[REDACTED:<kind>]`. RE2 does the matching: linear in time on
any text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import re2

from vaultak.errors import ConfigurationError
from vaultak.redact import assignments, cards
from vaultak.redact.formats import FORMATS
from vaultak.redact.marks import is_mark, mark
from vaultak.redact.names import may_name_secret, names_secret, parts
from vaultak.redact.randomness import looks_random
from vaultak.redact.settings import Redaction

MAX_DEPTH = 32
MIN_SECRET_CHARS = 8
MAX_ROUNDS = 4
"""Times that a text is gone over again because something was found: a mark may make a new edge."""

_CACHED_TEXTS, _CACHED_CHARS = 2048, 256
_CACHED_NAMES = 4096
_CUT = "[REDACTED:too-deep]"
_LEAST_CARD, _MOST_CARD = 2 * 10**12, 7 * 10**18
_CARD, _ASSIGNED = "card", "named"
_NAMING = ("name", "key", "header", "variable")
_PAIR, _HEADER_CHARS = 2, 64
_NOTHING, _PERHAPS, _SECRET = 0, 1, 2


class Redactor:
    """Takes secrets out of JSON-like values. Never raises; idempotent; thread-safe.

    What `own` names comes on top of what is known. Raises `ConfigurationError` for a pattern that is none.
    """

    def __init__(self, own: Redaction | None = None) -> None:
        own = own or Redaction()
        known = {**FORMATS, **own.patterns, _CARD: cards.PATTERN, _ASSIGNED: assignments.SCREEN}
        self._kinds = tuple(known)
        self._compiled = tuple(_compiled(kind, pattern) for kind, pattern in known.items())
        self._screen = re2.Set.SearchSet()
        for pattern in known.values():
            self._screen.Add(pattern)
        self._screen.Compile()
        self._allow = tuple(_compiled("allow", pattern) for pattern in own.allow)
        self._extra_names = frozenset(parts(name).lower().replace("-", "_") for name in own.names)
        self._known_names: dict[str, int] = {}
        self._known_texts: dict[str, str] = {}

    def text(self, text: str) -> str:
        """The text without secrets."""
        clean = self._known_texts.get(text)
        if clean is not None:
            return clean
        clean = self._look_at(text)
        if len(text) <= _CACHED_CHARS:
            if len(self._known_texts) >= _CACHED_TEXTS:
                self._known_texts.clear()
            self._known_texts[text] = clean
        return clean

    def _look_at(self, text: str) -> str:
        if type(text) is not str:  # a subclass may show anything; what it holds is what counts
            text = str.__str__(text)
        if not text.isascii():  # lone surrogates cannot be encoded
            text = text.encode("utf-8", "replace").decode()
        if len(text) < MIN_SECRET_CHARS:
            return text
        for _ in range(MAX_ROUNDS):
            hits = self._screen.Match(text)
            if not hits:
                return text
            before = text
            for index in sorted(hits):
                text = self._replace(index, text)
            if text == before:
                return text
        return mark("text")

    def _replace(self, index: int, text: str) -> str:
        kind, pattern = self._kinds[index], self._compiled[index]
        if kind == _ASSIGNED:
            return assignments.without(text, self._allowed)
        shown_mark = mark(kind)
        has_part = "secret" in pattern.groupindex

        def replaced(found: Any) -> str:
            whole = str(found.group())
            secret = str(found.group("secret") or whole) if has_part else whole
            if is_mark(secret) or self._allowed(secret) or (kind == _CARD and not cards.is_card(secret)):
                return whole
            return whole.replace(secret, shown_mark)

        return str(pattern.sub(replaced, text))

    def _allowed(self, secret: str) -> bool:
        return any(pattern.fullmatch(secret) for pattern in self._allow)

    def value(self, value: Any, depth: int = 0) -> Any:
        """A JSON-like value with secrets replaced; what JSON cannot carry becomes its `repr`."""
        kind = type(value)
        if kind is str:
            return self.text(value)
        if value is None or kind is bool:
            return value
        if isinstance(value, int):
            if _LEAST_CARD <= value < _MOST_CARD and cards.is_card(str(int(value))):
                return mark(_CARD)
            # 64 bits is what JSON readers agree on
            return int(value) if -(2**63) <= value < 2**64 else f"{value:#x}"[:_CACHED_CHARS]
        if isinstance(value, float):
            return float(value) if value == value and abs(value) != float("inf") else str(float(value))
        if isinstance(value, str):
            return self.text(str.__str__(value))
        if depth >= MAX_DEPTH:
            return _CUT
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            try:
                return self._sequence(value, depth)
            except RuntimeError as e:  # a set that another thread changes meanwhile
                return f"<{kind.__name__}: {e}>"
        if isinstance(value, bytes | bytearray):
            return self.text(bytes(value).decode("utf-8", "replace"))
        return self.text(shown(value))

    def _sequence(self, values: Iterable[Any], depth: int) -> list[Any]:
        """Items; what follows an option or a header's name that names a secret (`--password`, `x`) is one."""
        clean: list[Any] = []
        pair = isinstance(values, list | tuple) and len(values) == _PAIR
        hide = False
        for value in values:
            clean.append(self._named(value, depth) if hide else self.value(value, depth + 1))
            hide = isinstance(value, str | bytes) and self._announces(value, pair=pair and len(clean) == 1)
        return clean

    def _announces(self, value: str | bytes, *, pair: bool) -> bool:
        """Whether the item after this one is a secret."""
        if (not pair and value[:1] not in ("-", b"-")) or len(value) > _HEADER_CHARS:
            return False
        text = value if isinstance(value, str) else value.decode("latin-1")
        return "=" not in text and self._names_a_secret(text)

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> Any:
        clean: dict[str, Any] = {}
        try:
            for name, value in dict.items(mapping) if isinstance(mapping, dict) else mapping.items():
                name = self.text(name) if type(name) is str else self._name(name)
                known = self._known_names.get(name)
                if known is None:
                    known = self._what_it_names(name)
                if known == _SECRET:
                    clean[name] = self._named(value, depth)
                elif type(value) is not str:
                    clean[name] = self.value(value, depth + 1)
                elif known == _PERHAPS and looks_random(value) and not self._allowed(value):
                    clean[name] = mark(_ASSIGNED)
                else:
                    clean[name] = self.text(value)
            if "value" in clean and not clean.keys().isdisjoint(_NAMING):
                self._hide_value(clean, depth)
        except Exception as e:  # noqa: BLE001 - a foreign mapping may raise anything, or change while it is read
            return f"<{type(mapping).__name__}: {type(e).__name__}>"
        return clean

    def _hide_value(self, clean: dict[str, Any], depth: int) -> None:
        """`{"name": "API_KEY", "value": "x"}`."""
        if any(isinstance(clean.get(key), str) and self._names_a_secret(clean[key][:64]) for key in _NAMING):
            clean["value"] = self._named(clean["value"], depth)

    def _name(self, name: object) -> str:
        return self.text(str.__str__(name) if isinstance(name, str) else shown(name))

    def _named(self, value: Any, depth: int) -> Any:
        """What a member with a secret's name holds: nothing of it is shown but its structure."""
        if isinstance(value, str | bytes | bytearray):
            if not value or (isinstance(value, str) and (is_mark(value) or self._allowed(value))):
                return self.value(value, depth + 1)
            return mark(_ASSIGNED)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return mark(_ASSIGNED)
        clean = self.value(value, depth + 1)
        return self._bare(clean) if isinstance(clean, dict | list) else clean

    def _bare(self, clean: Any) -> Any:
        """The structure of a clean value, none of its texts and numbers."""
        if isinstance(clean, dict):
            return {name: self._bare(value) for name, value in clean.items()}
        if isinstance(clean, list):
            return [self._bare(value) for value in clean]
        if clean is None or isinstance(clean, bool) or clean == "" or clean == _CUT:
            return clean
        return clean if isinstance(clean, str) and is_mark(clean) else mark(_ASSIGNED)

    def _names_a_secret(self, name: str) -> bool:
        return self._what_it_names(name) == _SECRET

    def _what_it_names(self, name: str) -> int:
        known = self._known_names.get(name)
        if known is None:
            if parts(name).lower().replace("-", "_") in self._extra_names or names_secret(name):
                known = _SECRET
            else:
                known = _PERHAPS if may_name_secret(name) else _NOTHING
            if len(self._known_names) < _CACHED_NAMES:
                self._known_names[name] = known
        return known


def _compiled(kind: str, pattern: str) -> Any:
    try:
        return re2.compile(pattern)
    except re2.error as e:
        raise ConfigurationError(f"redaction of `{kind}`: `{pattern[:100]}` is no RE2 pattern: {e}") from None


def shown(value: object) -> str:
    """What can be shown of any object: its `repr`, cut. Never raises."""
    try:
        return repr(value)[:4096]
    except Exception:  # noqa: BLE001 - whatever a foreign `__repr__` raises
        return f"<{type(value).__name__}>"
