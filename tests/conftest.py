"""What many tests share: a broker and a ClickHouse server, real, started once a session, on free ports.

`VAULTAK_TEST_BROKER=kafka` runs the tests on a real Apache Kafka; `VAULTAK_BOOTSTRAP_SERVERS` on an existing cluster.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vaultak.wire import Topics
from vaultak_devstack.broker import Broker
from vaultak_devstack.broker_embedded import EmbeddedBroker
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_devstack.errors import DevstackError
from vaultak_devstack.external import ExternalBroker
from vaultak_devstack.topics import ensure_topics


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The session's broker: `.bootstrap_servers`, `.kind` (`embedded`, `kafka`, `external`). Use `topics` with it."""
    running = _make_broker(tmp_path_factory.mktemp("broker"))
    try:
        running.start()
    except DevstackError as e:
        pytest.fail(f"no broker for the tests: {e}")
    yield running
    running.stop()


def _make_broker(directory: Path) -> Broker:
    wanted = os.environ.get("VAULTAK_TEST_BROKER", "embedded")
    if servers := os.environ.get("VAULTAK_BOOTSTRAP_SERVERS"):
        return ExternalBroker(servers)
    if wanted == "kafka":
        from vaultak_devstack.broker_kafka import KafkaBroker, available

        if reason := available():
            pytest.skip(f"no Apache Kafka here: {reason}")
        return KafkaBroker(directory)
    if wanted != "embedded":
        pytest.fail(f"VAULTAK_TEST_BROKER: `{wanted}` is unknown; use embedded or kafka")
    return EmbeddedBroker(log_dir=directory)


@pytest.fixture
def topics(broker: Broker) -> Topics:
    """All topics of a deployment of this test's own, empty, on the session's broker."""
    names = Topics(f"t{uuid.uuid4().hex[:12]}")
    asyncio.run(ensure_topics(broker.bootstrap_servers, names.prefix))
    return names


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """The session's ClickHouse server. Tests that write use `clickhouse_database` for a database of their own."""
    server = ClickHouseServer(tmp_path_factory.mktemp("clickhouse"), database_prefix=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def clickhouse_database(clickhouse: ClickHouseServer) -> Iterator[Callable[..., str]]:
    """A database of this test's own, empty: call it with a role (`admin`, `writer`, `viewer`) for its DSN."""
    name = f"vaultak_{uuid.uuid4().hex[:12]}"
    clickhouse.execute(f"CREATE DATABASE {name}")
    yield lambda role="admin": clickhouse.dsn(role, name)
    clickhouse.execute(f"DROP DATABASE IF EXISTS {name} SYNC")
