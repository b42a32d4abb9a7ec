"""Names are looked up only where connecting is allowed: a query carries its name to whoever serves it."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vaultak import ActionBlockedError, Vaultak
from vaultak.config import Settings
from vaultak.testing import RecordingPublisher

HOST = "c2VjcmV0.evil.invalid"
WAYS: dict[str, Callable[[str], object]] = {
    "getaddrinfo": lambda host: socket.getaddrinfo(host, 443),
    "getaddrinfo without port": lambda host: socket.getaddrinfo(host, None),
    "gethostbyname": lambda host: socket.gethostbyname(host),
    "gethostbyname_ex": lambda host: socket.gethostbyname_ex(host),
    "create_connection": lambda host: socket.create_connection((host, 443), timeout=1),
    "http.client": lambda host: http.client.HTTPConnection(host, 443, timeout=1).connect(),
    "asyncio": lambda host: asyncio.run(_ask(host)),
}


async def _ask(host: str) -> object:
    return await asyncio.get_running_loop().getaddrinfo(host, 443)


def client(tmp_path: Path, **limits: object) -> Vaultak:
    settings = Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path)})
    return Vaultak(publisher=RecordingPublisher(), settings=settings, max_risk_score=1.0, rollback_limit=0, **limits)  # type: ignore[arg-type]


@pytest.fixture(params=[{"blocked_resources": ["*evil.invalid*"]}, {"blocked_resources": [HOST.lower()]},
                        {"allowed_resources": ["good.invalid:*"]}], ids=["pattern", "host", "not allowed"])  # fmt: skip
def vt(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vaultak]:
    with client(tmp_path, **request.param) as made:
        yield made


@pytest.mark.parametrize("way", WAYS)
def test_a_forbidden_host_is_not_looked_up(vt: Vaultak, way: str) -> None:
    with vt.monitor("agent") as m, pytest.raises(ActionBlockedError):
        WAYS[way](HOST)
    refused = [entry for entry in m.audit_trail() if entry.status == "denied"]
    assert [entry.resource.partition(":")[0] for entry in refused] == [HOST.lower()]


def test_looking_up_what_is_allowed_is_no_action(tmp_path: Path) -> None:
    with client(tmp_path, blocked_resources=["*evil.invalid*"]) as vt, vt.monitor("agent") as m:
        for host in ("localhost", "127.0.0.1", "::1", None):
            socket.getaddrinfo(host, 80)
        with pytest.raises(OSError):
            socket.getaddrinfo("fine.invalid", 80)
    assert m.audit_trail() == []


def test_local_names_need_not_be_allowed(tmp_path: Path) -> None:
    with client(tmp_path, allowed_resources=["/tmp/*"]) as vt, vt.monitor("agent") as m:
        socket.getaddrinfo("localhost", 80)
        socket.getaddrinfo(socket.gethostname(), 80)
    assert m.audit_trail() == []
