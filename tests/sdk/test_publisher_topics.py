"""A topic that fails and queues of the dead: what others send goes on, and nothing is lost without a count."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sdk.operator_side import read_all, settings, until
from vaultak.publish import Publisher, delivery, sending
from vaultak.publish.disk import make_room
from vaultak.publish.frames import encode_body
from vaultak.publish.spool import SEGMENT_BYTES, Spool
from vaultak.wire import Topics
from vaultak_devstack.broker import Broker
from vaultak_devstack.topics import ensure_topics

KEY = b"agent"


@pytest.mark.stack
async def test_a_missing_topic_holds_up_nobody_and_gets_its_events_in_order_once_it_is_there(
    broker: Broker, topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PARKED_EVERY_S", 0.2)
    later = Topics(f"{topics.prefix}-later")
    asked, there = sending._unusable, False

    async def unusable(producer: Any, topic: str) -> str:  # the embedded broker makes every topic that is asked for
        return await asked(producer, topic) if there or topic != later.actions else "the broker does not have it"

    monkeypatch.setattr(sending, "_unusable", unusable)
    made = Publisher(settings(tmp_path, broker.bootstrap_servers, topics))
    for n in range(300):
        made.emit(later.actions, KEY, b"%05d" % n, [])
        made.emit(topics.actions, KEY, b"%05d" % n, [])
    until(lambda: made.stats.delivered == 300)
    wanted = [b"%05d" % n for n in range(300)]
    assert await read_all(broker.bootstrap_servers, topics.actions) == wanted
    assert made.stats.parked_bytes > 0
    await ensure_topics(broker.bootstrap_servers, later.prefix)
    there = True
    assert made.flush(20)
    assert await read_all(broker.bootstrap_servers, later.actions) == wanted
    assert made.stats.parked_bytes == made.stats.dropped_parked == 0
    made.close()
    assert list((tmp_path / "spool").iterdir()) == []


def abandoned(directory: Path, events: int, *, age_s: float = 0) -> None:
    spool = Spool(directory)
    for n in range(events):
        spool.append(encode_body("t", KEY, b"%05d" % n, []))
    spool.abandon()
    os.utime(directory, (1_000_000_000 - age_s, 1_000_000_000 - age_s))


def test_the_oldest_orphans_make_room_and_what_they_held_is_counted(tmp_path: Path) -> None:
    living = Spool(tmp_path / "living")
    living.append(encode_body("t", KEY, b"x", []))
    for name, age_s in (("old", 30), ("older", 60), ("new", 0)):
        abandoned(tmp_path / name, 10, age_s=age_s)
    assert make_room(tmp_path, limit_bytes=5 * SEGMENT_BYTES) == 0
    assert make_room(tmp_path, limit_bytes=3 * SEGMENT_BYTES) == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["living", "new"]
    living.abandon()
    shutil.rmtree(tmp_path / "living")


@pytest.mark.stack
async def test_damage_in_what_a_dead_process_left_is_counted_and_the_rest_delivered(
    broker: Broker, topics: Topics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "spool" / "dead"
    spool = Spool(directory)
    for n in range(100):
        spool.append(encode_body(topics.actions, KEY, b"%05d" % n, []))
    spool.abandon()
    segment = directory / "0000000000.seg"
    damaged = bytearray(segment.read_bytes())
    damaged[damaged.index(b"00050")] ^= 1
    segment.write_bytes(damaged)
    heir = Publisher(settings(tmp_path, broker.bootstrap_servers, topics))
    heir.emit(topics.acks, KEY, b"own", [])
    until(lambda: heir.stats.adopted == 99)
    until(lambda: heir.stats.corrupt == 1)
    heir.close()
    expected = [b"%05d" % n for n in range(100) if n != 50]
    assert await read_all(broker.bootstrap_servers, topics.actions) == expected
    assert "cannot be read and are lost" in caplog.text
