"""Which words ask for which sort of doing: general English, to see whether a request asks for what a tool does."""

from __future__ import annotations

import functools
import re

from vaultak_models.provenance.tokens import stem, token_id

FAMILIES: tuple[tuple[str, ...], ...] = (
    ("send", "message", "mail", "email", "write", "tell", "reply", "respond", "answer", "forward", "notify", "inform",
     "ask", "dm"),
    ("post", "publish", "put", "upload", "write", "send", "reply", "share"),
    ("create", "make", "add", "new", "book", "schedule", "reserve", "set", "plan", "write", "save", "generate"),
    ("add", "append", "insert", "include", "put", "invite", "attach"),
    ("invite", "ask", "add"),
    ("share", "give", "grant", "send"),
    ("update", "change", "edit", "modify", "set", "correct", "fix", "rename", "move", "reschedule", "replace",
     "upgrade", "downgrade", "adjust"),
    ("reschedule", "move", "postpone", "shift", "delay", "change"),
    ("delete", "remove", "erase", "drop", "clear", "clean", "purge", "destroy", "wipe", "discard"),
    ("remove", "delete", "kick", "ban", "drop", "take"),
    ("cancel", "stop", "abort", "call"),
    ("pay", "transfer", "send", "refund", "settle", "wire"),
    ("buy", "order", "purchase", "book", "reserve"),
    ("run", "execute", "start", "launch", "deploy", "install"),
)  # fmt: skip
"""A tool whose verb heads a family is asked for by the words of that family; others by any family they are in."""

_WORD = re.compile(r"[a-z]+")


def _asking() -> dict[str, frozenset[int]]:
    found: dict[str, frozenset[int]] = {}
    for verb in dict.fromkeys(stem(word) for family in FAMILIES for word in family):
        headed = [family for family in FAMILIES if stem(family[0]) == verb]
        within = headed or [family for family in FAMILIES if verb in map(stem, family)]
        found[verb] = frozenset(token_id(stem(word)) for family in within for word in family)
    return found


_ASKING = _asking()
_NOT_VERBS = frozenset(map(stem, ("new", "mail", "message", "dm", "email")))


@functools.lru_cache(maxsize=4_096)
def asking_for(resource: str) -> frozenset[int]:
    """Tokens of a request that would ask for this tool's verb; empty when its name has no verb that is known."""
    name = resource.rpartition(":")[2]
    words = [stem(word) for word in _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())]
    return next((_ASKING[word] for word in words if word in _ASKING and word not in _NOT_VERBS), frozenset())


@functools.lru_cache(maxsize=4_096)
def verb_of(resource: str) -> int | None:
    """The token of the tool's own verb."""
    name = resource.rpartition(":")[2]
    words = [stem(word) for word in _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())]
    return next((token_id(word) for word in words if word in _ASKING and word not in _NOT_VERBS), None)
