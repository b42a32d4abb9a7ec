"""The `condition` line: `selection and not 1 of filter_*`, `all of them`, brackets. `not` binds first, then `and`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

from vaultak.errors import PolicyError
from vaultak.policy.rules import And, Not, Or
from vaultak.policy.rules.tree import MAX_DEPTH, Node

MAX_CONDITION_CHARS = 4096
_TOKEN = re.compile(r"\s*(?:([()])|([A-Za-z0-9_*?.-]+))")


def parse_condition(text: str, selections: Mapping[str, Node]) -> Node:
    """The tree that `text` says. Raises `PolicyError` where it is not well-formed or names what is not there."""
    parser = _Parser(_tokens(text), selections)
    node = parser.disjunction(0)
    if parser.rest:
        raise PolicyError(f"condition: `{parser.rest[0]}` is not expected; join selections by `and` or `or`")
    return node


def _tokens(text: str) -> list[str]:
    if len(text) > MAX_CONDITION_CHARS:
        raise PolicyError(f"condition is longer than {MAX_CONDITION_CHARS} characters")
    tokens, at, text = [], 0, text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise PolicyError(f"condition: `{text[at:].strip()[:20]}` cannot be read")
        tokens.append(found[1] or found[2])
        at = found.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[str], selections: Mapping[str, Node]) -> None:
        self.rest = tokens
        self._selections = selections

    def _take(self, word: str) -> bool:
        if self.rest and self.rest[0].lower() == word:
            self.rest = self.rest[1:]
            return True
        return False

    def disjunction(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise PolicyError(f"condition is nested deeper than {MAX_DEPTH}")
        parts = [self._conjunction(depth)]
        while self._take("or"):
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self, depth: int) -> Node:
        parts = [self._negation(depth)]
        while self._take("and"):
            parts.append(self._negation(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _negation(self, depth: int) -> Node:
        negated = False
        while self._take("not"):
            negated = not negated
        node = self._primary(depth)
        return Not(node) if negated else node

    def _primary(self, depth: int) -> Node:
        if self._take("("):
            node = self.disjunction(depth + 1)
            if not self._take(")"):
                raise PolicyError("condition: a `)` is missing")
            return node
        if not self.rest or self.rest[0].lower() in ("and", "or", ")"):
            raise PolicyError("condition: the name of a selection is missing")
        name, self.rest = self.rest[0], self.rest[1:]
        if name.lower() in ("1", "any", "all") and self._take("of"):
            return self._several(name.lower() == "all")
        if name not in self._selections:
            raise PolicyError(f"condition: there is no selection `{name}`; there are {_names(self._selections)}")
        return self._selections[name]

    def _several(self, every: bool) -> Node:
        if not self.rest:
            raise PolicyError("condition: `of` wants `them` or a pattern such as `selection*`")
        pattern, self.rest = self.rest[0], self.rest[1:]
        if pattern.lower() == "them":
            parts = [node for name, node in self._selections.items() if not name.startswith("_")]
        else:
            parts = [node for name, node in self._selections.items() if fnmatch.fnmatchcase(name, pattern)]
        if not parts:
            raise PolicyError(f"condition: no selection fits `{pattern}`; there are {_names(self._selections)}")
        return And(tuple(parts)) if every else Or(tuple(parts))


def _names(selections: Mapping[str, Node]) -> str:
    return ", ".join(f"`{name}`" for name in selections)
