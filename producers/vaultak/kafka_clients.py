"""Keyword arguments for aiokafka's clients, from the settings. Shared by SDK, worker, sink and command line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import Any

from vaultak.config import Settings
from vaultak.errors import ConfigurationError

log = logging.getLogger("vaultak.kafka")

# It says the same again and again while a broker is away; who uses it says it once. A program that has set up logging
# gets to see all of it.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

_LOCAL_HOSTS = ("127.0.0.1:", "localhost:", "[::1]:")

FETCH_WAIT_MS = 500
LOCAL_FETCH_WAIT_MS = 15
"""A broker answers a waiting fetch when a record comes; the embedded one only when the wait is over (ADR 2). On
loopback short waits cost nothing; across a network they would be a request storm."""


STOP_TIMEOUT_S = 5.0


class _Session(ssl.SSLObject):
    """Ends a connection without waiting for the other side's goodbye. asyncio waits 30 s for it, and Kafka gives none
    where the last answer of a fetch came between."""

    def unwrap(self) -> None:  # in asyncio nothing comes after TLS on the same socket
        with contextlib.suppress(ssl.SSLWantReadError):
            super().unwrap()


async def end_client(client: Any, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Stop a consumer or producer that is not needed any more. Raises nothing but the caller's own cancellation.

    aiokafka lets the cancellation of its own tasks out of `stop` when the broker has just gone: taken for the
    caller's, it would end whoever wanted to try again.
    """
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait((stopping,), timeout=timeout_s)
    if not stopping.done():
        stopping.cancel()
    elif not stopping.cancelled() and (error := stopping.exception()) is not None:
        log.debug("closing: %s", error)


def client_kwargs(settings: Settings) -> dict[str, Any]:
    """What every client needs to connect. Raises `ConfigurationError` when a certificate or key cannot be used."""
    kwargs: dict[str, Any] = {"bootstrap_servers": settings.bootstrap_servers, **settings.kafka_security}
    ca_file, cert_file, key_file = (kwargs.pop(f"ssl_{name}", None) for name in ("cafile", "certfile", "keyfile"))
    if "SSL" in kwargs.get("security_protocol", ""):
        try:
            context = kwargs["ssl_context"] = ssl.create_default_context(cafile=ca_file)
        except OSError as e:
            raise ConfigurationError(f"KAFKA_SSL_CAFILE: cannot use `{ca_file}`: {e}") from None
        context.sslobject_class = _Session
        try:
            if cert_file:
                context.load_cert_chain(cert_file, key_file)
        except OSError as e:
            raise ConfigurationError(f"KAFKA_SSL_CERTFILE: cannot use `{cert_file}`: {e}") from None
    oauth = {name: kwargs.pop(name) for name in list(kwargs) if name.startswith("oauth_")}
    if kwargs.get("sasl_mechanism") == "OAUTHBEARER":
        kwargs["sasl_oauth_token_provider"] = _tokens(**oauth)
    return kwargs


def _tokens(
    oauth_token_file: str = "",
    oauth_url: str = "",
    oauth_client_id: str = "",
    oauth_client_secret: str = "",
    oauth_scope: str = "",
) -> Any:
    from vaultak.kafka_tokens import FileToken, IssuedToken

    if oauth_token_file:
        return FileToken(Path(oauth_token_file))
    return IssuedToken(oauth_url, oauth_client_id, oauth_client_secret, oauth_scope)


def fetch_wait_ms(settings: Settings) -> int:
    """How long a fetch may wait at the broker for a first record."""
    local = all(server.strip().startswith(_LOCAL_HOSTS) for server in settings.bootstrap_servers.split(","))
    return LOCAL_FETCH_WAIT_MS if local else FETCH_WAIT_MS
