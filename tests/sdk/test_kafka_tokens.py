"""Tokens for OAUTHBEARER: fresh from a file, or asked of an issuer and kept for as long as they last."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from vaultak.config import Settings
from vaultak.errors import ConfigurationError
from vaultak.kafka_clients import client_kwargs
from vaultak.kafka_tokens import FileToken, IssuedToken, TokenError

SECRET = "a secret / with & signs"
PREFIX = "KAFKA_SASL_OAUTHBEARER_"


class Issuer(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.lives_s: float = 300
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/token"


class _Answers(BaseHTTPRequestHandler):
    server: Issuer

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        self.server.asked.append((self.headers["authorization"], form))
        answer = {"access_token": f"token-{len(self.server.asked)}", "expires_in": self.server.lives_s}
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


async def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    tokens = FileToken(tmp_path / "token")
    with pytest.raises(TokenError, match="cannot read"):
        await tokens.token()
    for text in ("first", "second"):
        (tmp_path / "token").write_text(f"{text}\n")
        assert await tokens.token() == text


async def test_an_issuer_is_asked_once_for_as_long_as_a_token_lasts(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = IssuedToken(issuer.url, "agent", SECRET, "kafka")
    assert [await tokens.token() for _ in range(3)] == ["token-1"] * 3
    (authorization, form) = issuer.asked[0]
    assert authorization.startswith("Basic ")
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    monkeypatch.setattr("vaultak.kafka_tokens.time.monotonic", lambda: 1e12)
    assert await tokens.token() == "token-2"


async def test_a_refusal_names_who_and_where_and_not_the_secret(issuer: Issuer) -> None:
    issuer.status = 401
    with pytest.raises(TokenError) as refused:
        await IssuedToken(issuer.url, "agent", SECRET).token()
    assert "401" in str(refused.value)
    assert SECRET not in str(refused.value)


def environment(**more: str) -> dict[str, str]:
    return {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "OAUTHBEARER"} | {
        f"{PREFIX}{name}": value for name, value in more.items()
    }


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, "TOKEN_ENDPOINT_URL"),
        ({"TOKEN_ENDPOINT_URL": "https://issuer.example/t", "CLIENT_ID": "a"}, "CLIENT_SECRET"),
        ({"TOKEN_ENDPOINT_URL": "http://issuer.example/t", "CLIENT_ID": "a", "CLIENT_SECRET": "b"}, "is not https"),
    ],
)
def test_what_is_missing_or_unsafe_is_named(given: dict[str, str], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        Settings.from_env(environment(**given))


def test_clients_get_what_they_take(tmp_path: Path) -> None:
    of_file = client_kwargs(Settings.from_env(environment(TOKEN_FILE=str(tmp_path / "t"))))
    assert isinstance(of_file["sasl_oauth_token_provider"], FileToken)
    given = {"TOKEN_ENDPOINT_URL": "https://issuer.example/t", "CLIENT_ID": "a", "CLIENT_SECRET": "b"}
    issued = client_kwargs(Settings.from_env(environment(**given)))
    assert isinstance(issued["sasl_oauth_token_provider"], IssuedToken)
    assert not [name for name in (*of_file, *issued) if name.startswith("oauth")]
