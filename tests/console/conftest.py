"""A console on a real ClickHouse that holds the recorded hour, asked through its ASGI application."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from console import recorded
from vaultak.config import Settings
from vaultak.wire import Topics
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_devstack.keys import command_signer
from vaultak_streams.console.app import build
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.console.reading import Reader
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

TOKEN = "a-token-for-these-tests"
SECRET = b"secret of these tests"
NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="session")
def recorded_dsn(clickhouse: ClickHouseServer) -> Iterator[str]:
    """The viewer's DSN of a database that holds the recorded hour. Read only: all tests share it."""
    name = f"vaultak_{uuid.uuid4().hex[:12]}"
    clickhouse.execute(f"CREATE DATABASE {name}")
    migrate(clickhouse.dsn("admin", name))
    with connect(clickhouse.dsn("writer", name)) as store:
        recorded.store_all(store, recorded.fleet(dt.datetime.now(dt.UTC)))
    yield clickhouse.dsn("viewer", name)
    clickhouse.execute(f"DROP DATABASE IF EXISTS {name} SYNC")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        bootstrap_servers=NOWHERE, topics=Topics("vaultak"), data_dir=tmp_path / "data", spool_dir=tmp_path / "spool"
    )


@pytest.fixture
def console(settings: Settings, recorded_dsn: str) -> Iterator[Callable[..., TestClient]]:
    """Call it with what differs from the default options for a client that has not signed in."""
    opened: list[TestClient] = []

    def make(*, client: tuple[str, int] = ("127.0.0.1", 50000), **differing: object) -> TestClient:
        options = ConsoleOptions(**{"token": TOKEN, **differing})
        desk = Desk(settings=settings, reader=Reader(recorded_dsn), sign=command_signer(settings.data_dir))
        app = build(desk, options, SECRET)
        made = TestClient(app, base_url="http://127.0.0.1:8700", follow_redirects=False, client=client)
        opened.append(made.__enter__())
        return made

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def admin(console: Callable[..., TestClient]) -> TestClient:
    """Signed in with the token."""
    client = console()
    assert client.post("/login", data={"secret": TOKEN}).status_code == 303
    return client


def csrf_of(client: TestClient) -> str:
    """The token that this session's forms carry."""
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', client.get("/").text)
    assert found
    return found[1]
