"""Sessions: who is signed in, in a signed cookie; what was ended is remembered until it would have expired."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec
from itsdangerous import BadSignature, URLSafeTimedSerializer

from vaultak_streams.console.operators import Operator, Role
from vaultak_streams.console.options import SESSION_LIFETIME_S

COOKIE = "vaultak_console"

MAX_ENDED = 10_000
"""Ended sessions that are remembered; the oldest is forgotten first."""


class Sessions:
    """Makes and reads the cookie. A cookie carries a session's id, name, role and way in; none of it is secret."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock
        self._signer = URLSafeTimedSerializer(secret, salt="vaultak.console.session")
        self._ended: OrderedDict[str, float] = OrderedDict()

    def begin(self, name: str, role: Role, via: str) -> str:
        """The cookie of a new session."""
        value: str = self._signer.dumps([secrets.token_urlsafe(16), name, role.value, via])
        return value

    def read(self, cookie: str) -> Operator | None:
        """Whose session that is; `None` for one that is forged, too old or ended."""
        try:
            session_id, name, role, via = self._signer.loads(cookie, max_age=SESSION_LIFETIME_S)
            known = msgspec.convert((session_id, name, role, via), tuple[str, str, Role, str])
        except (BadSignature, ValueError, TypeError, msgspec.ValidationError):
            return None
        if known[0] in self._ended:
            return None
        return Operator(name=known[1], role=known[2], via=known[3], csrf=self.csrf(known[0]))

    def end(self, cookie: str) -> None:
        """From now on this cookie opens nothing."""
        try:
            session_id = str(self._signer.loads(cookie, max_age=SESSION_LIFETIME_S)[0])
        except (BadSignature, IndexError, TypeError):
            return
        self._ended[session_id] = self._clock()
        while len(self._ended) > MAX_ENDED or self._clock() - next(iter(self._ended.values())) > SESSION_LIFETIME_S:
            self._ended.popitem(last=False)

    def csrf(self, session_id: str) -> str:
        """The token that forms of a session carry: derived from its id, so it needs no storage."""
        return hmac.new(self._secret, b"csrf:" + session_id.encode(), "sha256").hexdigest()
