"""Alerts arrive: at a web hook and in a mailbox, again when a service was away, counted when they do not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from alerts.receivers import mail_server, wait_for, web_hook
from alerts.test_notices import incident, notice
from vaultak.config import Settings
from vaultak.errors import ConfigurationError
from vaultak.wire import IncidentStatus, Topics, encode, format_ts
from vaultak_devstack.broker import Broker
from vaultak_streams.alerts.destination import DeliveryError, destinations
from vaultak_streams.alerts.lane import MAX_WAITING, Lane
from vaultak_streams.alerts.options import AlertOptions
from vaultak_streams.alerts.service import Alerts, alert_status_path
from vaultak_streams.alerts.wording import worded
from vaultak_streams.cli.app import main
from vaultak_streams.health import Grade, examine


def test_one_message_reaches_a_web_hook_and_a_mailbox() -> None:
    with web_hook() as hook, mail_server() as (mail_url, mails):
        for destination in destinations(AlertOptions(urls=(hook.url, mail_url))):
            destination.deliver(worded([notice(title="block: file_delete /srv/<b>prod</b> & all")]))
        assert hook.titles == ["Block: billing, file_delete /srv/‹b›prod‹/b› & all"]
        assert mails[0]["subject"] == hook.titles[0]
        assert "Risk: 0.90" in mails[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_a_refusal_says_why_and_names_no_secret() -> None:
    with web_hook() as hook:
        hook.statuses = [500]
        secret = hook.url.replace("json://", "json://user:hunter22@").replace("/hook", "/T0KEN")
        [destination] = destinations(AlertOptions(urls=(secret,)))
        with pytest.raises(DeliveryError, match="500"):
            destination.deliver(worded([notice()]))
        assert "hunter22" not in destination.name
        assert "T0KEN" not in destination.name


def test_a_url_that_nobody_knows_is_refused_at_the_start_without_its_secret() -> None:
    with pytest.raises(ConfigurationError, match=r"number 1 \(`nosuch://") as refused:
        destinations(AlertOptions(urls=("nosuch://hunter22@host",)))
    assert "hunter22" not in str(refused.value)


def test_destinations_come_from_a_configuration_file_too(tmp_path: Path) -> None:
    config = tmp_path / "apprise.yml"
    config.write_text("urls:\n  - json://127.0.0.1:9/a\n  - mailto://127.0.0.1:9?from=a@b.org&to=c@d.org\n")
    found = destinations(AlertOptions.from_env({"VAULTAK_ALERT_CONFIG": str(config)}))
    assert [destination.name for destination in found] == ["1 json://127.0.0.1:9", "2 mailto://127.0.0.1:9"]


class Flaky:
    """A destination that refuses so many times."""

    name = "flaky"

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.titles: list[str] = []

    def deliver(self, message: Any) -> None:
        if self.refusals > 0:
            self.refusals -= 1
            raise DeliveryError("not now")
        self.titles.append(message.title)


@contextlib.asynccontextmanager
async def running(lane: Lane) -> AsyncIterator[Lane]:
    lane.first_retry_s = 0.01
    task = asyncio.create_task(lane.run())
    try:
        yield lane
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_empty(lane: Lane) -> None:
    async with asyncio.timeout(10):
        while lane.undelivered:
            await asyncio.sleep(0.01)


async def test_a_service_that_was_away_gets_the_message_later() -> None:
    service = Flaky(refusals=3)
    async with running(Lane(service, AlertOptions())) as lane:
        lane.put(notice())
        await until_empty(lane)
    assert len(service.titles) == 1
    assert (lane.status.retried, lane.status.delivered, lane.status.failed) == (3, 1, 0)
    assert lane.status.last_error == ""


async def test_what_never_arrives_is_given_up_and_counted_and_the_next_goes_on() -> None:
    service = Flaky(refusals=10**9)
    async with running(Lane(service, AlertOptions(give_up_s=0.05))) as lane:
        lane.put(notice())
        await until_empty(lane)
        assert (lane.status.failed, lane.status.last_error) == (1, "not now")
        service.refusals = 0
        lane.put(notice(session_id="s2"))
        await until_empty(lane)
    assert len(service.titles) == 1


async def test_what_comes_faster_than_the_pace_is_put_together() -> None:
    service = Flaky()
    lane = Lane(service, AlertOptions(burst=2, per_minute=600))
    for n in range(10):
        lane.put(notice(session_id=f"s{n}"))
    async with running(lane):
        await until_empty(lane)
    assert service.titles == ["Block: billing, file_delete /srv/prod.db", "9 messages about incidents"]
    assert (lane.status.delivered, lane.status.told) == (2, 10)


async def test_what_the_queue_cannot_hold_is_counted_in_the_next_message() -> None:
    service = Flaky()
    lane = Lane(service, AlertOptions())
    for n in range(MAX_WAITING + 7):
        lane.put(notice(session_id=f"s{n}"))
    async with running(lane):
        await until_empty(lane)
    assert service.titles == [f"{MAX_WAITING + 7} messages about incidents"]
    assert lane.status.dropped == 7


class Hanging:
    """A destination that answers when it is told to."""

    name = "hanging"

    def __init__(self) -> None:
        self.released = threading.Event()

    def deliver(self, _message: Any) -> None:
        self.released.wait(20)


async def test_services_that_hang_hold_up_nobody_else() -> None:
    hanging, service = [Hanging() for _ in range(40)], Flaky()
    async with contextlib.AsyncExitStack() as stack:
        lanes = [await stack.enter_async_context(running(Lane(one, AlertOptions()))) for one in [*hanging, service]]
        for lane in lanes:
            lane.put(notice())
        await until_empty(lanes[-1])
        assert service.titles
        assert all(lane.undelivered for lane in lanes[:-1])
        for one in hanging:
            one.released.set()
        for lane in lanes:
            await until_empty(lane)


def settings_for(tmp_path: Path, broker: Broker, topics: Topics) -> Settings:
    return Settings(
        bootstrap_servers=broker.bootstrap_servers, topics=topics, data_dir=tmp_path, spool_dir=tmp_path / "spool"
    )


async def publish(settings: Settings, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(settings.topics.incidents, value, key=b"billing")
    finally:
        await producer.stop()


@contextlib.asynccontextmanager
async def alerting(settings: Settings, url: str) -> AsyncIterator[Alerts]:
    options = AlertOptions(urls=(url,))
    alerts = Alerts(settings, options, destinations(options))
    task = asyncio.create_task(alerts.run())
    try:
        yield alerts
    finally:
        alerts.stop()
        await asyncio.wait_for(task, 20)


async def _complains_of(settings: Settings, subject: str) -> bool:
    """Whether `vaultak doctor` would."""
    status = json.loads(alert_status_path(settings).read_text())
    alert_status_path(settings).write_text(json.dumps(status | {"state": "running"}))
    found = {finding.subject: finding.grade for finding in await examine(settings)}
    return found[subject] is Grade.WARN


@pytest.mark.slow
@pytest.mark.stack
async def test_incidents_of_the_topic_are_told_once_through_restarts(
    tmp_path: Path, broker: Broker, topics: Topics
) -> None:
    settings, now = settings_for(tmp_path, broker, topics), format_ts(time.time())
    with web_hook() as hook:
        old = incident(session_id="long ago")
        await publish(settings, encode(old), b"no incident", *[encode(incident(ts=now))] * 3)
        async with alerting(settings, hook.url) as alerts:
            await asyncio.to_thread(wait_for, lambda: len(hook.posts) == 1)
            hook.statuses = [503]
            await publish(settings, encode(incident(ts=now, status=IncidentStatus.UPDATED, severity="kill")))
            await asyncio.to_thread(wait_for, lambda: hook.attempts == 2)
            status = alerts.status
        assert (status.stale, status.undecodable, status.notices) == (1, 1, 2)
        assert json.loads(alert_status_path(settings).read_text())["detail"].endswith("error=503.")
        assert await _complains_of(settings, "alerts")
        # It ended with one message refused: the next one knows of it, and tells nothing twice.
        async with alerting(settings, hook.url):
            await asyncio.to_thread(wait_for, lambda: len(hook.posts) == 2)
            await publish(settings, encode(incident(ts=now, status=IncidentStatus.CLOSED, closed_by="ann")))
            await asyncio.to_thread(wait_for, lambda: len(hook.posts) == 3)
        assert [title.split(":")[0] for title in hook.titles] == ["Block", "Kill (was block)", "Closed"]


def test_the_command_tries_every_destination(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("VAULTAK_DATA_DIR", str(tmp_path))
    with web_hook() as hook:
        monkeypatch.setenv("VAULTAK_ALERT_URLS", f"{hook.url} json://127.0.0.1:9/closed")
        assert main(["alerts", "test", "--json"]) == 1
    results = json.loads(capsys.readouterr().out)
    assert [result["delivered"] for result in results] == [True, False]
    assert results[1]["error"]
    monkeypatch.delenv("VAULTAK_ALERT_URLS")
    assert main(["alerts", "test"]) == 2
    assert main(["alerts", "status"]) == 1
