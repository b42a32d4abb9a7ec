"""What was said in a session, by whom: requests (trusted), outputs of tools (not trusted), arguments used before."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vaultak_models.provenance.mentions import Mention
from vaultak_models.provenance.tokens import tokens

MAX_SESSIONS = 4
MAX_REQUEST = 256
MAX_SAID = 700
MAX_USED = 192
MAX_KINDS = 32
OUTPUTS = 24
"""Outputs told apart; later ones count as the last."""


class Trace(msgspec.Struct, array_like=True):
    """One session. All bounded: what comes after a bound is not remembered, what a request said always is."""

    request: dict[int, int] = {}
    """Tokens of the requests, in order."""
    said: dict[int, int] = {}
    """Tokens of outputs: a bit for each output that said it."""
    used: dict[int, int] = {}
    """Tokens of the arguments of earlier actions."""
    kinds: dict[int, int] = {}
    """How often each kind of action came."""
    outputs: int = 0

    def ask(self, content: str) -> None:
        for token in tokens(content):
            if len(self.request) < MAX_REQUEST:
                self.request.setdefault(token, 1)

    def hear(self, content: str) -> None:
        bit = 1 << min(self.outputs, OUTPUTS - 1)
        self.outputs += 1
        said = self.said
        for token in tokens(content):
            if token in said:
                said[token] |= bit
                continue
            if len(said) >= MAX_SAID:
                del said[next(iter(said))]
            said[token] = bit

    def use(self, kind: int, mentioned: Sequence[Mention]) -> None:
        """An action of this kind came, and mentioned these."""
        kinds = self.kinds
        if kind in kinds:
            kinds[kind] += 1
        elif len(kinds) < MAX_KINDS:
            kinds[kind] = 1
        used = self.used
        for mention in mentioned:
            for token in mention.tokens:
                if token in used:
                    del used[token]
                used[token] = 1
        while len(used) > MAX_USED:
            del used[next(iter(used))]
