"""Names of members, variables and options whose values are secrets."""

from __future__ import annotations

import re

import re2

STRONG_WORDS = (
    r"pass(?:word|wd|phrase|code)?s?|pwd|secrets?|token|api[_-]?keys?|access[_-]?key|private[_-]?key|secret[_-]?key|"
    r"(?:encryption|signing|master|account)[_-]?key|authorization|(?:set[_-]?)?cookies?|credentials?|session[_-]?id|"
    r"jwt|otp|totp|cvv|cvc|pin|ssn"
)
_WEAK_WORDS = r"key|auth|sig|signature|sas|pat|salt|session|nonce|code"
"""Whose values are secrets only where they look random."""

_SECRET = re2.compile(rf"(?i)(?:^|[_.-])(?:{STRONG_WORDS})(?:$|[_.-])|(?:password|passwd|passphrase|apikey)(?:$|[_.-])")
_WEAK = re2.compile(rf"(?i)(?:^|[_.-])(?:{_WEAK_WORDS})$")
_NOT_SECRET = re2.compile(
    r"(?i)(?:max|min|num|count|total|input|output|prompt|completion|limit|next|page|stop|pad|eos|bos|unk|sep|cls|mask)"
    r"[_-]?tokens?$|(?:^|[_-])(?:token|secret|password|key|cookie|credential|session|pin)s?[_-]"
    r"(?:type|count|limit|length|len|size|name|path|file|policy|expir(?:y|es|ation)|ttl|age|hint|url|uri|endpoint|"
    r"enabled|required|usage|budget|index|position|manager|provider|helper|store|field|prompt|version|arn)s?$"
)
_SPLIT_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

MAX_NAME_CHARS = 256


def parts(name: str) -> str:
    """`dbPassword` as `db_Password`: camel case has its boundaries too."""
    return _SPLIT_CAMEL.sub("_", name[:MAX_NAME_CHARS].strip("-'\" "))


def names_secret(name: str) -> bool:
    """Whether whatever has this name is a secret: `password`, `db-password`, `accessToken`, not `max_tokens`."""
    name = parts(name)
    return bool(_SECRET.search(name)) and not _NOT_SECRET.search(name)


def may_name_secret(name: str) -> bool:
    """Whether what has this name is a secret if it looks like one: `key`, `sig`, `auth`."""
    name = parts(name)
    return bool(_WEAK.search(name)) and not _NOT_SECRET.search(name)
