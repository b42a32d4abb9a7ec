"""Delivery: in order, at least once, through a broker that is away, a process that dies and a disk that is full."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sdk.operator_side import read_all, settings, until
from vaultak.config import Settings
from vaultak.publish import Publisher
from vaultak.publish.frames import HEADER, Damage, Message, encode_body, encode_frame, marker_of, read_frames
from vaultak.publish.queues import MemoryQueue
from vaultak.publish.spool import SEGMENT_BYTES, Spool, SpoolFullError, orphans
from vaultak.wire import Topics
from vaultak_devstack.broker import Broker
from vaultak_devstack.broker_embedded import EmbeddedBroker
from vaultak_devstack.ports import free_port
from vaultak_devstack.topics import ensure_topics

KEY = b"agent"


def say(publisher: Publisher, topics: Topics, *texts: str) -> None:
    for text in texts:
        publisher.emit(topics.actions, KEY, text.encode(), [("ce_id", text.encode())])


def numbered(start: int, stop: int) -> list[str]:
    return [f"{n:05}" for n in range(start, stop)]


def distinct(values: list[bytes]) -> list[str]:
    """In order of first delivery: at least once means that some may come again."""
    return list(dict.fromkeys(value.decode() for value in values))


@pytest.fixture
def publisher(broker: Broker, topics: Topics, tmp_path: Path) -> Iterator[Publisher]:
    made = Publisher(settings(tmp_path, broker.bootstrap_servers, topics))
    yield made
    made.close(2.0)


@pytest.mark.stack
async def test_messages_arrive_in_order_and_the_spool_is_left_empty(
    publisher: Publisher, broker: Broker, topics: Topics, tmp_path: Path
) -> None:
    say(publisher, topics, *numbered(0, 3000))
    assert publisher.flush(20)
    assert [v.decode() for v in await read_all(broker.bootstrap_servers, topics.actions)] == numbered(0, 3000)
    stats = publisher.stats
    assert (stats.emitted, stats.delivered, stats.pending_bytes, stats.durable) == (3000, 3000, 0, True)
    publisher.close()
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.stack
async def test_a_closed_publisher_opens_again_with_the_next_message(
    publisher: Publisher, broker: Broker, topics: Topics
) -> None:
    say(publisher, topics, "1")
    publisher.close()
    publisher.close()
    say(publisher, topics, "2")
    assert publisher.flush(20)
    assert [v.decode() for v in await read_all(broker.bootstrap_servers, topics.actions)] == ["1", "2"]


@pytest.mark.stack
async def test_what_is_emitted_while_the_broker_is_away_arrives_when_it_comes(tmp_path: Path) -> None:
    topics, port = Topics("late"), free_port()
    made = Publisher(settings(tmp_path, f"127.0.0.1:{port}", topics))
    say(made, topics, *numbered(0, 100))
    assert not made.flush(0.3)
    until(lambda: made.stats.last_error)
    running = EmbeddedBroker(port=port, log_dir=tmp_path)
    running.start()
    try:
        await ensure_topics(running.bootstrap_servers, topics.prefix)
        assert made.flush(30)
        assert distinct(await read_all(running.bootstrap_servers, topics.actions)) == numbered(0, 100)
        assert made.stats.connected
    finally:
        made.close()
        running.stop()


@pytest.mark.stack
@pytest.mark.slow
async def test_a_broker_that_is_killed_midway_costs_nothing_that_was_not_delivered(tmp_path: Path) -> None:
    topics = Topics("midway")
    first = EmbeddedBroker(log_dir=tmp_path)
    first.start()
    await ensure_topics(first.bootstrap_servers, topics.prefix)
    made = Publisher(settings(tmp_path, first.bootstrap_servers, topics))
    say(made, topics, *numbered(0, 50))
    assert made.flush(20)
    os.kill(first.pids[0], signal.SIGKILL)
    until(lambda: not first.running)
    say(made, topics, *numbered(50, 250))
    second = EmbeddedBroker(port=first.port, log_dir=tmp_path)
    second.start()
    try:
        await ensure_topics(second.bootstrap_servers, topics.prefix)
        assert made.flush(60)
        assert distinct(await read_all(second.bootstrap_servers, topics.actions)) == numbered(50, 250)
    finally:
        made.close()
        second.stop()


EMITS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from vaultak.config import Settings
from vaultak.publish import Publisher
publisher = Publisher(Settings.from_env())
for n in range(int(sys.argv[1])):
    publisher.emit("{topic}", b"agent", b"%05d" % n, [])
os.kill(os.getpid(), signal.SIGKILL)
"""


def run_and_kill(env: dict[str, str], topic: str, count: int) -> None:
    code = EMITS_AND_DIES.format(topic=topic)
    done = subprocess.run([sys.executable, "-c", code, str(count)], env=os.environ | env, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.stack
async def test_what_a_killed_process_left_is_delivered_by_the_next(
    broker: Broker, topics: Topics, tmp_path: Path
) -> None:
    dead = f"127.0.0.1:{free_port()}"
    run_and_kill({"VAULTAK_DATA_DIR": str(tmp_path), "VAULTAK_BOOTSTRAP_SERVERS": dead}, topics.actions, 2000)
    heir = Publisher(settings(tmp_path, broker.bootstrap_servers, topics))
    say(heir, topics, "own")
    until(lambda: heir.stats.adopted == 2000)
    heir.close()
    values = distinct(await read_all(broker.bootstrap_servers, topics.actions))
    assert [v for v in values if v != "own"] == numbered(0, 2000)
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.stack
async def test_a_forked_child_delivers_its_own_and_leaves_the_parents_alone(
    publisher: Publisher, broker: Broker, topics: Topics
) -> None:
    say(publisher, topics, *numbered(0, 50))
    if (pid := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            say(publisher, topics, *numbered(100, 150))
            os._exit(0 if publisher.flush(20) and publisher.stats.emitted == 50 else 1)
        os._exit(2)
    say(publisher, topics, *numbered(50, 100))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert publisher.flush(20)
    values = [v.decode() for v in await read_all(broker.bootstrap_servers, topics.actions)]
    assert sorted(values) == numbered(0, 150)
    assert [v for v in values if v < "00100"] == numbered(0, 100)


@pytest.mark.stack
async def test_a_program_that_ends_delivers_what_it_emitted_last(
    broker: Broker, topics: Topics, tmp_path: Path
) -> None:
    program = """
        from vaultak import Vaultak
        vt = Vaultak(rollback_limit=0)
        vt.log_action(agent_id="a", action_type="tool_call", resource="tool:last")
        """
    env = {
        "VAULTAK_DATA_DIR": str(tmp_path),
        "VAULTAK_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "VAULTAK_TOPIC_PREFIX": topics.prefix,
    }
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=os.environ | env, timeout=60, check=True)
    assert [b"tool:last" in v for v in await read_all(broker.bootstrap_servers, topics.actions)] == [True]


# -- without a broker ----------------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path) -> Settings:
    return settings(tmp_path, f"127.0.0.1:{free_port()}", Topics())


def test_a_full_queue_drops_what_comes_counts_it_and_says_so(alone: Settings, caplog: pytest.LogCaptureFixture) -> None:
    made = Publisher(alone, limit_bytes=2 * SEGMENT_BYTES)
    with caplog.at_level(logging.ERROR, "vaultak.publish"):
        for _ in range(20):
            made.emit("t", KEY, b"x" * 1_000_000, [])
    assert made.stats.dropped_full == 20 - 8
    assert "events dropped" in caplog.text
    made.emit("t", KEY, b"x" * 1_100_000, [])
    assert made.stats.dropped_too_large == 1
    made.close(0.0)


def test_without_a_disk_messages_wait_in_memory_and_it_says_so(
    alone: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").write_text("a file where the directory should be")
    made = Publisher(alone)
    with caplog.at_level(logging.WARNING, "vaultak.publish"):
        say(made, alone.topics, "1", "2")
    assert not made.stats.durable
    assert made.stats.pending_bytes > 0
    assert "lost if this process dies" in caplog.text
    made.close(0.0)


def test_a_disk_that_fills_up_later_leaves_the_rest_in_memory(alone: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Publisher(alone)
    made.emit("t", KEY, b"x" * 1_000_000, [])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vaultak.publish.spool._reserve", full)
    for _ in range(5):
        made.emit("t", KEY, b"x" * 1_000_000, [])
    assert made._delivery is not None
    assert made._delivery.overflow.pending_bytes > 1_000_000
    assert made.stats.dropped_full == 0
    made.close(0.0)


def test_nothing_starts_before_the_first_message(alone: Settings, tmp_path: Path) -> None:
    made = Publisher(alone)
    assert made.stats.emitted == 0
    assert made.flush(0.0)
    made.close()
    assert not (tmp_path / "spool").exists()


# -- the spool on disk ---------------------------------------------------------------------------------------------

BODIES = st.lists(st.binary(max_size=300), min_size=1, max_size=30)


MARKER = marker_of("q")


def encoded(bodies: list[bytes]) -> list[bytes]:
    return [encode_body("t", KEY, body, [("h", b"v")]) for body in bodies]


def frames(bodies: list[bytes]) -> list[bytes]:
    return [encode_frame(body, MARKER) for body in encoded(bodies)]


def read(buffer: bytes) -> tuple[list[bytes], int]:
    """The values in a segment, and how many stretches of it are damaged."""
    found = [found for found, _ in read_frames(buffer, MARKER, 0, len(buffer))]
    return [m.value for m in found if isinstance(m, Message)], sum(isinstance(d, Damage) for d in found)


@given(BODIES, st.data())
def test_torn_frames_end_the_reading_and_never_what_came_before(bodies: list[bytes], data: st.DataObject) -> None:
    whole = frames(bodies)
    cut = data.draw(st.integers(0, sum(map(len, whole))))
    ends, total = 0, 0
    for frame in whole:
        total += len(frame)
        ends += total <= cut
    assert read(b"".join(whole)[:cut])[0] == bodies[:ends]


@given(BODIES, st.data())
def test_damage_costs_the_frames_it_touches_and_no_other(bodies: list[bytes], data: st.DataObject) -> None:
    whole = frames(bodies)
    buffer = bytearray(b"".join(whole) + bytes(100))
    written = len(buffer) - 100
    for position in (hits := data.draw(st.sets(st.integers(0, written - 1), min_size=1, max_size=5))):
        buffer[position] ^= data.draw(st.integers(1, 255))
    untouched, start = [], 0
    for frame, body in zip(whole, bodies, strict=True):
        if not any(start <= hit < start + len(frame) for hit in hits):
            untouched.append(body)
        start += len(frame)
    values, damages = read(bytes(buffer))
    assert values == untouched
    assert 1 <= damages <= len(hits)


def test_a_page_of_zeros_amid_the_frames_is_damage_and_not_the_end() -> None:
    bodies = [b"%05d" % n for n in range(1000)]
    buffer = bytearray(b"".join(frames(bodies)) + bytes(1000))
    buffer[4096:8192] = bytes(4096)
    values, damages = read(bytes(buffer))
    assert damages == 1
    assert values[-1] == bodies[-1]
    assert len(values) > 850


def test_a_frame_inside_a_message_is_not_taken_for_one() -> None:
    forged = encode_frame(encode_body("other", KEY, b"forged", []), marker_of("guessed"))
    buffer = bytearray(b"".join(frames([forged * 5, b"next"])))
    buffer[2] ^= 1
    assert read(bytes(buffer)) == ([b"next"], 1)


def test_a_segment_made_to_be_searched_for_long_is_given_up(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "q")
    step = HEADER.pack(MARKER, 1_000_000, 1)
    for _ in range(4):
        spool.append(step * 80_000)
    assert spool.peek(10)[0] == []
    assert spool.corrupt == 4
    spool.close()


@hypothesis_settings(max_examples=30, deadline=None)
@given(BODIES, st.data())
def test_whoever_goes_on_writing_behind_damage_overwrites_nothing(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("spool") / "q"
    spool = Spool(directory)
    for body in encoded(bodies):
        spool.append(body)
    spool.abandon()
    segment = bytearray((directory / "0000000000.seg").read_bytes())
    hit = data.draw(st.integers(0, sum(map(len, frames(bodies))) - 1))
    segment[hit] ^= 255
    (directory / "0000000000.seg").write_bytes(segment)
    again = Spool(directory)
    again.append(encode_body("t", KEY, b"new", []))
    messages, position = again.peek(1000)
    again.peek(1000)
    assert [m.value for m in messages] == [*read(bytes(segment))[0], b"new"]
    assert len(messages) == len(bodies)
    assert again.corrupt == 1
    again.delivered(position)
    assert again.pending_bytes == 0
    again.close()


@given(st.binary(max_size=400))
def test_foreign_bytes_are_no_frames(junk: bytes) -> None:
    assert read(junk)[0] == []


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=600_000), min_size=1, max_size=20), st.integers(1, 7))
def test_a_queue_gives_back_what_was_put_in_across_reopening(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], step: int
) -> None:
    directory = tmp_path_factory.mktemp("spool") / "q"
    spool, got = Spool(directory), []
    for body in encoded(bodies):
        spool.append(body)
    while True:
        messages, position = spool.peek(step)
        if not messages:
            break
        got += [m.value for m in messages]
        spool.delivered(position)
        spool.abandon()
        spool = Spool(directory)
    assert got == bodies
    spool.delivered(position)
    spool.close()
    assert not directory.exists()


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.binary(min_size=16, max_size=16), st.integers(0, 5))
def test_a_corrupt_spool_never_stops_whoever_finds_it(
    tmp_path_factory: pytest.TempPathFactory, segment: bytes, position: bytes, number: int
) -> None:
    root = tmp_path_factory.mktemp("spools")
    (root / "dead").mkdir()
    (root / "dead" / "lock").touch()
    (root / "dead" / f"{number:010}.seg").write_bytes(segment)
    (root / "dead" / "position").write_bytes(position)
    for spool in orphans(root, None):
        for _ in range(20):
            messages, behind = spool.peek(5)
            spool.delivered(behind)
            if not messages:
                break
        spool.close()


def test_a_living_process_keeps_its_spool(tmp_path: Path) -> None:
    living = Spool(tmp_path / "living")
    assert orphans(tmp_path, None) == []
    living.abandon()
    (found,) = orphans(tmp_path, None)
    found.close()


def test_memory_holds_what_it_may_and_no_more() -> None:
    queue = MemoryQueue(limit_bytes=100)
    body = encode_body("t", KEY, b"x", [])
    while queue.pending_bytes + len(body) <= 100:
        queue.append(body)
    with pytest.raises(SpoolFullError):
        queue.append(body)
    messages, position = queue.peek(2)
    queue.delivered(position)
    assert len(messages) == 2
