"""Tokens for SASL OAUTHBEARER: from a file that somebody keeps fresh, or from an issuer, by client credentials."""

from __future__ import annotations

import asyncio
import base64
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import msgspec
from aiokafka.abc import AbstractTokenProvider

from vaultak.errors import VaultakError

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024
SPENT = 0.8
"""Of a token's life; then the next one is asked for."""
_SHORTEST_S = 5.0


class TokenError(VaultakError):
    """There is no token to be had; the text says why, and no secret."""


class FileToken(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """What is in the file at the moment, asked for with each connection."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self) -> str:
        """Raises `TokenError`."""
        try:
            text = self._path.read_text().strip()
        except (OSError, UnicodeDecodeError) as e:
            raise TokenError(f"KAFKA_SASL_OAUTHBEARER_TOKEN_FILE: cannot read `{self._path}`: {e}") from None
        if not text:
            raise TokenError(f"KAFKA_SASL_OAUTHBEARER_TOKEN_FILE: `{self._path}` is empty")
        return text


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: float = 300.0


class IssuedToken(AbstractTokenProvider):  # type: ignore[misc]
    """Asked of the issuer (RFC 6749, 4.4), used by all connections, and asked for anew before it expires."""

    def __init__(self, url: str, client_id: str, secret: str, scope: str = "") -> None:
        self._url, self._client_id, self._secret, self._scope = url, client_id, secret, scope
        self._known: tuple[str, float] | None = None

    async def token(self) -> str:
        """Raises `TokenError`."""
        if self._known is None or time.monotonic() >= self._known[1]:
            answer = await asyncio.to_thread(self._ask)
            self._known = answer.access_token, time.monotonic() + max(_SHORTEST_S, answer.expires_in * SPENT)
        return self._known[0]

    def _ask(self) -> _Answer:
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        pair = f"{urllib.parse.quote_plus(self._client_id)}:{urllib.parse.quote_plus(self._secret)}"
        request = urllib.request.Request(  # noqa: S310 - https, or loopback: settings see to it
            self._url,
            urllib.parse.urlencode(form).encode(),
            {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}", "Accept": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return msgspec.json.decode(answer.read(MAX_ANSWER_BYTES), type=_Answer)
        except urllib.error.HTTPError as e:
            raise TokenError(f"`{self._url}` gives `{self._client_id}` no token: {e.code} {e.reason}") from None
        except (OSError, ValueError, msgspec.MsgspecError) as e:
            raise TokenError(f"no token from `{self._url}`: {type(e).__name__}: {str(e)[:200]}") from None
