"""Events: numbered without a gap, chained by hash, the same after decoding, whatever an agent puts into them."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultak import ActionType, ContextSource, OutcomeStatus, Vaultak, chain
from vaultak._native import core
from vaultak.chain import CompiledChain, PlainChain
from vaultak.emitter import PAYLOAD_LIMIT_BYTES, REASON_LIMIT_CHARS, Emitter
from vaultak.publish.frames import Message, encode_body
from vaultak.publish.spool import Spool
from vaultak.publish.tape import make_tape
from vaultak.redact import Redactor
from vaultak.testing import RecordingPublisher
from vaultak.wire import GENESIS_HASH, Action, Context, Event, Local, Outcome, chain_hash, decode_event, format_ts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=12), inner, max_size=4)
    ),
    max_leaves=20,
)


def emitter(published: RecordingPublisher) -> Emitter:
    return Emitter("agent-é", "vaultak.actions", published, Redactor())


def act(e: Emitter, payload: dict[str, Any], resource: str = "/tmp/x", **more: Any) -> None:
    local = more.pop("local", Local("allow"))
    e.action(
        "id-1", "session", 1.5e9, ActionType.CUSTOM, resource, payload, local, labels=more.pop("labels", {}), **more
    )


def assert_chained(events: Sequence[Event]) -> None:
    previous = GENESIS_HASH
    for n, event in enumerate(events):
        assert (event.seq, event.prev_hash) == (n, previous)
        assert event.hash == chain_hash(event)
        previous = str(event.hash)


def test_reasons_leave_without_secrets_and_cut() -> None:
    published = RecordingPublisher()
    secret = "ghp_" + "a1B2" * 9
    act(emitter(published), {}, local=Local("block", 0.5, (f"`https://h/?k={secret}` matches", "x" * 900_000), "p-1"))
    (event,) = published.events()
    assert isinstance(event, Action)
    assert event.local == Local(
        "block", 0.5, ("`https://h/?k=[REDACTED:github-token]` matches", "x" * REASON_LIMIT_CHARS), "p-1"
    )


def test_what_a_finalizer_emits_midway_does_not_fork_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalizer or a signal handler runs on the thread that is just writing an event, and acts itself."""
    published = RecordingPublisher()
    e = emitter(published)
    pending = ["inner-2", "inner-1"]

    def interrupted(event: bytes) -> bytes:
        if pending:
            act(e, {}, pending.pop())
        return digest(event)

    digest = chain._digest
    monkeypatch.setattr(chain, "_digest", interrupted)
    act(e, {}, "outer")
    act(e, {}, "later")
    events = published.events()
    assert_chained(events)
    assert sorted(event.resource for event in events if isinstance(event, Action)) == [
        "inner-1", "inner-2", "later", "outer",
    ]  # fmt: skip


class _Spooled:
    """A publisher whose spool is never emptied."""

    def __init__(self, directory: Path) -> None:
        self.tape = make_tape()
        self._spool = Spool(directory, tape=self.tape)

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self.emit_body(encode_body(topic, key, value, headers))

    def emit_body(self, body: bytes) -> None:
        self._spool.append(body)

    def messages(self) -> list[Message]:
        return self._spool.peek(1_000_000)[0]


_PARTS = st.tuples(*[st.binary(max_size=300)] * 4)
_TIMES = st.floats(0, 253402300798.0) | st.integers(0, 2**31)


@pytest.mark.skipif(not hasattr(core, "Chain"), reason="no compiled core, or a processor without its instructions")
@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.text(max_size=300), st.binary(max_size=20), _TIMES, st.booleans(), _PARTS), min_size=1, max_size=5
    ),
    st.text(max_size=40),
    st.sampled_from([0, 200, 70_000, 700_000]),
)
def test_the_compiled_core_writes_what_python_writes(
    events: list[tuple[str, bytes, float, bool, tuple[bytes, ...]]], agent_id: str, more: int
) -> None:
    written = []
    for way in (PlainChain, CompiledChain):
        with tempfile.TemporaryDirectory() as directory:
            spooled = _Spooled(Path(directory) / "spool")
            chained = way(spooled, "vaultak.actions", agent_id)
            times = []
            for event_id, suffix, now_s, opens, (head, middle, tail, last) in events:
                last += b"x" * more
                write = chained.bind("vaultak.x.v1", opens, suffix, middle, tail, last)
                times.append(write(event_id, now_s, head))
            written.append((times, spooled.messages()))
    assert written[0] == written[1]


def test_events_stay_in_order_where_one_segment_ends_and_the_next_begins(tmp_path: Path) -> None:
    """The fast way and the one that makes room take turns, on several threads, with signal-like re-entry aside."""
    spooled = _Spooled(tmp_path / "spool")
    e = Emitter("agent", "vaultak.actions", spooled, Redactor())

    def agent() -> None:
        for n in range(1500):
            act(e, {"text": f"{n}" * 600}, f"/tmp/{n}")

    threads = [threading.Thread(target=agent) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_chained([decode_event(message.value)[0] for message in spooled.messages()])


@settings(max_examples=200)
@given(
    st.dictionaries(st.text(st.characters(), max_size=12), JSON, max_size=5),
    st.text(st.characters(), max_size=50),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    st.builds(Local, st.sampled_from(["allow", "pause"]), st.floats(0, 1), st.tuples(st.text(max_size=9)), st.text()),
    st.sampled_from(["", "hook", "patch"]),
    st.sampled_from(["", "parent"]),
)
def test_an_action_decodes_to_what_was_hashed(
    payload: dict[str, Any], resource: str, labels: dict[str, str], local: Local, assurance: str, parent: str
) -> None:
    published = RecordingPublisher()
    e = emitter(published)
    for _ in range(2):
        act(
            e,
            payload,
            resource.encode("utf-8", "replace").decode(),
            labels=labels,
            local=local,
            assurance=assurance,
            parent_action_id=parent,
        )
    events = published.events()
    assert_chained(events)
    action = events[0]
    assert isinstance(action, Action)
    assert (action.labels, action.assurance, action.parent_action_id) == (labels, assurance, parent)
    assert action.local == local
    value = published.messages[0][2]
    assert msgspec.json.decode(value)["kind"] == "action"


@given(
    st.sampled_from(list(OutcomeStatus)),
    st.text(st.characters(), max_size=60),
    st.text(st.characters(), max_size=60),
    st.none() | st.floats(-1, 1e9),
)
def test_an_outcome_and_a_context_decode_to_what_was_hashed(
    status: OutcomeStatus, content: str, error: str, duration_ms: float | None
) -> None:
    published = RecordingPublisher()
    e = emitter(published)
    e.outcome("id-1", "session", 1.5e9, status, content=content, error=error, duration_ms=duration_ms)
    e.context("id-2", "session", 1.5e9, ContextSource.SYSTEM, content)
    events = published.events()
    assert_chained(events)
    outcome, context = events
    assert isinstance(outcome, Outcome)
    assert outcome.status is status
    assert isinstance(context, Context)
    assert context.source is ContextSource.SYSTEM


def test_the_headers_follow_the_cloudevents_binding() -> None:
    published = RecordingPublisher()
    act(emitter(published), {})
    topic, key, _, headers = published.messages[0]
    assert (topic, key) == ("vaultak.actions", "agent-é".encode())
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"id-1",
        "ce_type": b"vaultak.action.v1",
        "ce_source": "/agents/agent-é".encode(),
        "ce_time": format_ts(1.5e9).encode(),
        "content-type": b"application/json; charset=utf-8",
    }


@pytest.mark.parametrize("size", [0, PAYLOAD_LIMIT_BYTES - 100, PAYLOAD_LIMIT_BYTES, 5_000_000])
def test_a_payload_is_capped_and_says_so(size: int) -> None:
    published = RecordingPublisher()
    act(emitter(published), {"text": '"é\x00' * (size // 3)})
    (event,) = published.events()
    assert isinstance(event, Action)
    assert event.payload_truncated == (int(event.payload_bytes) > PAYLOAD_LIMIT_BYTES)  # type: ignore[arg-type]
    assert len(msgspec.json.encode(event.payload)) <= PAYLOAD_LIMIT_BYTES * 2
    assert len(published.messages[0][2]) < 64 * 1024


@pytest.mark.parametrize("content", ["x" * 100_000, "é" * 100_000, "\udcff" * 100_000])
def test_contents_are_capped_and_say_so(content: str) -> None:
    published = RecordingPublisher()
    e = emitter(published)
    e.outcome("id-1", "s", 0.0, OutcomeStatus.OK, content=content, error=content)
    (event,) = published.events()
    assert isinstance(event, Outcome)
    assert event.content_truncated
    assert len(event.content.encode()) <= PAYLOAD_LIMIT_BYTES
    assert len(event.error.encode()) <= PAYLOAD_LIMIT_BYTES


def test_the_chain_holds_under_many_threads() -> None:
    published = RecordingPublisher()
    with Vaultak(publisher=published, rollback_limit=0) as vt:
        m = vt.monitor("a", intercept=False)

        def agent() -> None:
            for n in range(200):
                verdict = m.check("custom", f"tool:{n}", {"n": n})
                m.after(verdict.action_id, OutcomeStatus.OK)

        threads = [threading.Thread(target=agent) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(published.messages) == 8 * 200 * 2
    assert_chained(published.events())


def test_a_forked_child_begins_a_chain_of_its_own(tmp_path: Path) -> None:
    published = RecordingPublisher()
    with Vaultak(publisher=published, rollback_limit=0) as vt:
        m = vt.monitor("a", intercept=False)
        m.check("custom", "tool:before")
        busy = threading.Event()
        done = threading.Event()

        def hold_locks() -> None:
            with m._agent._lock, m._agent.emitter.chain._lock, vt._lock, m._agent.trail._lock, published._lock:
                busy.set()
                done.wait(10)

        holder = threading.Thread(target=hold_locks)
        holder.start()
        busy.wait(5)
        if (pid := os.fork()) == 0:
            try:
                published._lock = threading.RLock()  # the test's own publisher
                m.check("custom", "tool:child")
                (tmp_path / "child").write_bytes(published.messages[-1][2])
            finally:
                os._exit(0)
        done.set()
        holder.join()
        os.waitpid(pid, 0)
        m.check("custom", "tool:parent")
    child, _ = decode_event((tmp_path / "child").read_bytes())
    chains = defaultdict(list)
    for event in (*published.events(), child):
        chains[event.instance].append(event)
    assert sorted(len(events) for events in chains.values()) == [1, 2]
    for chained in chains.values():
        assert_chained(chained)


def test_an_event_that_cannot_be_written_is_counted_and_the_verdict_stands() -> None:
    class Broken(RecordingPublisher):
        def emit(self, *_: Any) -> None:
            raise RuntimeError("a bug of ours")

    with Vaultak(publisher=Broken(), rollback_limit=0, blocked_resources=["/x"]) as vt:
        m = vt.monitor("a", intercept=False)
        assert m.check("file_read", "/x").decision == "block"
        m.after("id", OutcomeStatus.OK)
        m.context("text")
        assert m._agent.unrecorded == 3
