"""Faults at random moments on a real Kafka: nothing is lost, nothing doubled. `make soak` makes hundreds of them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from failures.account import account
from failures.parts import Deployment
from failures.soak import soak, summary
from vaultak_devstack.broker_kafka import available
from vaultak_streams.store.client import connect

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

KILLS = 4


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    if reason := available():
        pytest.skip(f"no Apache Kafka here: {reason}")
    made = Deployment(tmp_path, "kafka")
    try:
        made.start()
        yield made
    finally:
        made.end()


def test_faults_lose_nothing_and_double_nothing_and_the_account_would_tell(deployment: Deployment) -> None:
    seed = int(os.environ.get("VAULTAK_TEST_SEED", random.randrange(10**6)))
    print(f"seed {seed}")
    faults, found = soak(deployment, KILLS, random.Random(seed))
    assert found.wrong == [], summary(KILLS, faults, found) + deployment.logs()
    assert found.events == 2 * found.actions > 0
    assert found.commands > 0

    lost, misjudged = deployment.written("agent-0")[:2]
    with connect(deployment.clickhouse.dsn("admin")) as store:
        for table in ("events_log", "action_parts"):
            store.command(f"ALTER TABLE {table} DELETE WHERE action_id = '{lost}' SETTINGS mutations_sync = 2")
        store.command(
            f"ALTER TABLE action_parts UPDATE risk = 0.99 WHERE action_id = '{misjudged}' AND isNotNull(risk)"
            " SETTINGS mutations_sync = 2"
        )
    told = "\n".join(account(deployment, ["never sent"]).wrong)
    assert f"action {lost} is lost" in told
    assert f"action {misjudged} was judged (0.99" in told
    assert "the chain of agent-0" in told
    assert "minute ('agent-0'" in told
    assert "command never sent was not answered" in told
