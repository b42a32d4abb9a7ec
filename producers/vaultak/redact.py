"""Secrets are taken out of payloads, outcomes and contexts before they leave the process.

Two ways in: the name of a member (`password`, `api_key` ...) and the shape of a value (key formats of well-known
issuers, private keys, JSON web tokens, credentials in URLs, card numbers that pass the Luhn check). What is found is
replaced by `[REDACTED:<kind>]`. RE2 does the matching: linear in time on any text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import re2

MAX_DEPTH = 32
MIN_SECRET_CHARS = 8
_CACHED_TEXTS, _CACHED_CHARS = 2048, 256
_CUT = "[REDACTED:too-deep]"

# Formats that issuers publish so that scanners can find them.
PATTERNS: Mapping[str, str] = {
    "private-key": r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)",
    "jwt": r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    "aws-key": r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b",
    "github-token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b",
    "gitlab-token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "slack-token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}",
    "google-key": r"\bAIza[0-9A-Za-z_-]{35}",
    "stripe-key": r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}",
    "npm-token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "pypi-token": r"\bpypi-[A-Za-z0-9_-]{32,}",
    "vaultak-key": r"\bvtk_[A-Za-z0-9_-]{8,}",
    "sk-key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "bearer": r"(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9+/_.~-]{16,}=*",
    "url-credentials": r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]+:[^\s/@]+@",
    "card": r"\b[0-9](?:[ -]?[0-9]){12,18}\b",
}

_NAMES = re2.compile(
    r"(?i)(?:^|[_.-])(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key|"
    r"client[_-]?secret|authorization|cookie|set-cookie|credentials?|cvv|cvc|pin|ssn)(?:$|[_.-])"
)
_NOT_SECRET = re2.compile(r"(?i)(?:max|num|count|total|input|output|prompt|completion|limit)[_-]?tokens?$")
_SPLIT_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_URL_PARTS = re.compile(r"://[^\s/]*@")


class Redactor:
    """Takes secrets out of JSON-like values. Never raises; idempotent; thread-safe."""

    def __init__(self, extra_patterns: Mapping[str, str] | None = None, extra_names: tuple[str, ...] = ()) -> None:
        patterns = {**PATTERNS, **(extra_patterns or {})}
        self._kinds = tuple(patterns)
        self._compiled = tuple(re2.compile(p) for p in patterns.values())
        self._screen = re2.Set.SearchSet()
        for pattern in patterns.values():
            self._screen.Add(pattern)
        self._screen.Compile()
        self._extra_names = frozenset(name.lower() for name in extra_names)
        self._known_names: dict[str, bool] = {}
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
        hits = self._screen.Match(text)
        for index in sorted(hits or ()):
            text = self._replace(index, text)
        return text

    def _replace(self, index: int, text: str) -> str:
        kind = self._kinds[index]
        mark = f"[REDACTED:{kind}]"
        if kind == "card":
            return str(self._compiled[index].sub(lambda m: mark if luhn(m.group()) else m.group(), text))
        if kind == "url-credentials":
            return str(self._compiled[index].sub(lambda m: _URL_PARTS.sub(f"://{mark}@", m.group()), text))
        return str(self._compiled[index].sub(mark.replace("\\", ""), text))

    def value(self, value: Any, depth: int = 0) -> Any:
        """A JSON-like value with secrets replaced; what JSON cannot carry becomes its `repr`."""
        kind = type(value)
        if kind is str:
            return self.text(value)
        if value is None or kind is bool:
            return value
        if isinstance(value, int):
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
                return [self.value(item, depth + 1) for item in value]
            except RuntimeError as e:  # a set that another thread changes meanwhile
                return f"<{kind.__name__}: {e}>"
        if isinstance(value, bytes | bytearray):
            return self.text(bytes(value).decode("utf-8", "replace"))
        return self.text(shown(value))

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> Any:
        clean = {}
        try:
            for name, value in dict.items(mapping) if isinstance(mapping, dict) else mapping.items():
                name = self.text(name) if type(name) is str else self._name(name)
                known = self._known_names.get(name)
                if known or (known is None and self._names_a_secret(name)):
                    clean[name] = self._named(value, depth)
                else:
                    clean[name] = self.text(value) if type(value) is str else self.value(value, depth + 1)
        except Exception as e:  # noqa: BLE001 - a foreign mapping may raise anything, or change while it is read
            return f"<{type(mapping).__name__}: {type(e).__name__}>"
        return clean

    def _name(self, name: object) -> str:
        return self.text(str.__str__(name) if isinstance(name, str) else shown(name))

    def _named(self, value: Any, depth: int) -> Any:
        """What a member with a secret's name holds: nothing of it is shown, unless it is structured."""
        if isinstance(value, str | bytes | bytearray):
            return "" if not value else value if _is_mark(value) else "[REDACTED:named]"
        if isinstance(value, int | float) and not isinstance(value, bool):
            return "[REDACTED:named]"
        return self.value(value, depth + 1)

    def _names_a_secret(self, name: str) -> bool:
        known = self._known_names.get(name)
        if known is None:
            parts = _SPLIT_CAMEL.sub("_", name)
            known = name.lower() in self._extra_names or (bool(_NAMES.search(parts)) and not _NOT_SECRET.search(parts))
            if len(self._known_names) < 4096:
                self._known_names[name] = known
        return known


def _is_mark(value: object) -> bool:
    return isinstance(value, str) and value.startswith("[REDACTED:")


def shown(value: object) -> str:
    """What can be shown of any object: its `repr`, cut. Never raises."""
    try:
        return repr(value)[:4096]
    except Exception:  # noqa: BLE001 - whatever a foreign `__repr__` raises
        return f"<{type(value).__name__}>"


def luhn(text: str) -> bool:
    """Whether the digits pass the checksum that card numbers carry (ISO/IEC 7812)."""
    digits = [int(c) for c in text if c in "0123456789"]
    odd = sum(digits[-1::-2])
    even = sum(d * 2 - 9 * (d > 4) for d in digits[-2::-2])
    return len(set(digits)) > 1 and (odd + even) % 10 == 0
