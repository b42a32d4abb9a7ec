"""Resource patterns: globs compiled into one RE2 set, so that a lookup costs the same for ten patterns and hundreds.

`*` matches any run of characters (separators too), `?` one character; everything else is literal, case-sensitive.
A pattern matches the whole resource, or, when it neither starts with `/` nor has a scheme (`tool:`, `db://`,
`https://`), any tail of the resource that begins after a separator (`/`, `:`, `@`): `*.env` matches `/srv/app/.env`,
`prod.*` matches `db://pg/prod.users` and `prod.internal:443`.

A path with `.`, `..` or empty segments (`/tmp/../etc/passwd`, `https://host/open/../admin`) counts both as it is written
and as it resolves: `match` wants either of them to match, `match_every_form` both.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Any

import re2

# No dots, though a scheme may have them: `example.com:*` is a host.
_SCHEME = re.compile(r"[a-z][a-z0-9+-]*:")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]*(?=/)", re.IGNORECASE)
_DOTTED = re.compile(r"/\.{0,2}(?:/|$|[?#])")
"""Cheap and generous: a hit says only that resolving may change something."""
_CACHE_LIMIT = 4096


class ResourceMatcher:
    """Says which of its patterns matches a resource. Immutable but for a bounded cache; thread-safe."""

    __slots__ = ("_cache", "_set", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(dict.fromkeys(patterns))
        self._cache: dict[str, str | None] = {}
        self._set = _compile(self.patterns)

    def match(self, resource: str) -> str | None:
        """The first pattern (in the order given) that matches, or `None`."""
        if self._set is None:
            return None
        try:
            return self._cache[resource]
        except KeyError:
            return self._look_up(resource)

    def match_every_form(self, resource: str) -> bool:
        """Whether the resource matches as it is written and as its path resolves: what is allowed has to."""
        return self.match(resource) is not None and (
            not _DOTTED.search(resource) or self.match(resolved(resource)) is not None
        )

    def _look_up(self, resource: str) -> str | None:
        hits = list(self._set.Match(resource) or ())
        if _DOTTED.search(resource):
            hits += self._set.Match(resolved(resource)) or ()
        found = self.patterns[min(hits)] if hits else None
        if len(self._cache) >= _CACHE_LIMIT:
            self._cache.clear()
        self._cache[resource] = found
        return found


def resolved(resource: str) -> str:
    """A path, or a URL's path, without `.`, `..` and empty segments; anything else as it is. Reads no file system."""
    start = 0
    if scheme := _URL.match(resource):
        start = scheme.end()
    elif not resource.startswith("/"):
        return resource
    end = len(resource) if not start else next((i for i in range(start, len(resource)) if resource[i] in "?#"), -1)
    end = len(resource) if end < 0 else end
    path = posixpath.normpath("/" + resource[start:end].lstrip("/"))
    slash = "/" if resource[start:end].endswith("/") and path != "/" else ""
    return f"{resource[:start]}{path}{slash}{resource[end:]}"


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
