"""Resource patterns: globs compiled into one RE2 set, so that a lookup costs the same for ten patterns and hundreds.

`*` matches any run of characters (separators too), `?` one character; everything else is literal, case-sensitive.
A pattern matches the whole resource, or, when it neither starts with `/` nor has a scheme (`tool:`, `db://`,
`https://`), any tail of the resource that begins after a separator (`/`, `:`, `@`): `*.env` matches `/srv/app/.env`,
`prod.*` matches `db://pg/prod.users` and `prod.internal:443`.

A path with `.`, `..` or empty segments (`/tmp/../etc/passwd`, `https://host/open/../admin`) has two forms: as it is
written, and as it resolves. `match` wants any of them to match, `match_every_form` each.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import re2

# No dots, though a scheme may have them: `example.com:*` is a host.
_SCHEME = re.compile(r"[a-z][a-z0-9+-]*:")
_URL = re.compile(r"(?s)([a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*)(/[^?#]*)(.*)")
_DOTTED = re.compile(r"/\.{0,2}(?:/|$|[?#])")
"""Cheap and generous: a hit says only that resolving may change something."""
_CACHE_LIMIT = 4096

ANY_TABLE = "db://*"
"""What cannot be read may reach any table: as a resource, it is matched by every pattern of `db://`."""
ANY_FILE = "/*"
"""Likewise any file: matched by every pattern that begins with `/` or has no scheme."""

T = TypeVar("T")


class ResourceMatcher:
    """Says which of its patterns matches a resource. Immutable but for bounded caches; thread-safe."""

    __slots__ = ("_allows", "_cache", "_set", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(dict.fromkeys(patterns))
        self._cache: dict[str, str | None] = {}
        self._allows: dict[str, bool] = {}
        self._set = _compile(self.patterns)

    def match(self, resource: str) -> str | None:
        """The first pattern (in the order given) that matches any form of the resource, or `None`."""
        if self._set is None:
            return None
        try:
            return self._cache[resource]
        except KeyError:
            hits = [hit for form in forms(resource) for hit in self._hits(form)] or self._of_any(resource)
            return _remember(self._cache, resource, self.patterns[min(hits)] if hits else None)

    def _of_any(self, resource: str) -> list[int]:
        if resource == ANY_TABLE:
            return [i for i, pattern in enumerate(self.patterns) if pattern.startswith("db:")]
        if resource == ANY_FILE:
            return [i for i, pattern in enumerate(self.patterns) if not _SCHEME.match(pattern)]
        return []

    def match_every_form(self, resource: str) -> bool:
        """Whether each form of the resource is matched: what is allowed must not resolve to something else."""
        try:
            return self._allows[resource]
        except KeyError:
            return _remember(self._allows, resource, all(self._hits(form) for form in forms(resource)))

    def _hits(self, form: str) -> Sequence[int]:
        return () if self._set is None else self._set.Match(form) or ()


def _remember(cache: dict[str, T], resource: str, found: T) -> T:
    if len(cache) >= _CACHE_LIMIT:
        cache.clear()
    cache[resource] = found
    return found


def forms(resource: str) -> tuple[str, ...]:
    """The resource as it is written and, where that differs, as its path resolves. Reads no file system."""
    if not _DOTTED.search(resource):
        return (resource,)
    url = _URL.fullmatch(resource)
    before, path, after = url.groups() if url else ("", resource, "")
    if not path.startswith("/"):
        return (resource,)
    plain = posixpath.normpath("/" + path.lstrip("/"))
    if plain != "/" and path.endswith("/"):
        plain += "/"
    return (resource,) if plain == path else (resource, f"{before}{plain}{after}")


def _compile(patterns: tuple[str, ...]) -> Any:
    """An RE2 set over all patterns; `None` for no patterns."""
    if not patterns:
        return None
    compiled = re2.Set.FullMatchSet()
    for pattern in patterns:
        compiled.Add(glob_to_re2(pattern))
    compiled.Compile()
    return compiled


def glob_to_re2(pattern: str) -> str:
    """The glob as a regular expression for a full match. Linear in time whatever the pattern."""
    body = "".join(".*" if c == "*" else "." if c == "?" else re2.escape(c) for c in re.sub(r"\*+", "*", pattern))
    anchored = pattern.startswith("/") or _SCHEME.match(pattern)
    return f"(?s){body}" if anchored else f"(?s)(?:.*[/:@])?{body}"
