"""Two agents of one program work on the same files at once: what each is told, and what is on record, is its own."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from vaultak import ActionBlockedError, Vaultak
from vaultak.config import Settings
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, Outcome, OutcomeStatus

FILES = 6
TURN_S = 1e-5

file_sets = st.frozensets(st.integers(0, FILES - 1), max_size=FILES)


@dataclass
class Side:
    """One agent, the files it must not open, and what its workers saw."""

    name: str
    blocked: frozenset[int]
    vt: Vaultak
    files: Path
    opened: Counter[int] = field(default_factory=Counter)
    refused: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, n: int) -> None:
        try:
            open(self.files / str(n)).close()
        except ActionBlockedError as e:
            with self.lock:
                self.refused[e.action_id] = n
        else:
            with self.lock:
                self.opened[n] += 1


@contextmanager
def sides(blocked: dict[str, frozenset[int]], publisher: RecordingPublisher) -> Iterator[list[Side]]:
    """A client for each agent, as their policies differ; one publisher takes the events of both."""
    interval = sys.getswitchinterval()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = directory / "files"
        files.mkdir()
        for n in range(FILES):
            (files / str(n)).write_text("x")
        sys.setswitchinterval(TURN_S)
        stack.callback(sys.setswitchinterval, interval)
        yield [
            Side(name, numbers, stack.enter_context(client(directory, files, numbers, publisher)), files)
            for name, numbers in blocked.items()
        ]


def client(directory: Path, files: Path, blocked: frozenset[int], publisher: RecordingPublisher) -> Vaultak:
    return Vaultak(
        publisher=publisher,
        settings=Settings.from_env({"VAULTAK_DATA_DIR": str(directory / "data")}),
        blocked_resources=[str(files / str(n)) for n in blocked] or ["nothing"],
        max_actions_per_minute=1_000_000,
        max_risk_score=1.0,
        mode="block",
        rollback_limit=0,
    )


def hammer(both: list[Side], seed: int, threads: int, actions: int, tasks: int) -> None:
    """Each agent in threads of its own, and in tasks that take turns on one event loop with the other's."""

    def thread(side: Side, dice: random.Random) -> None:
        with side.vt.monitor(side.name):
            for _ in range(actions):
                side.open(dice.randrange(FILES))

    async def task(side: Side, dice: random.Random) -> None:
        async with side.vt.monitor(side.name):
            await asyncio.sleep(0)
            side.open(dice.randrange(FILES))
            await asyncio.sleep(0)
            await asyncio.to_thread(side.open, dice.randrange(FILES))

    async def loop() -> None:
        await asyncio.gather(*(task(both[n % 2], random.Random(seed + n)) for n in range(tasks)))

    workers = [threading.Thread(target=thread, args=(both[n % 2], random.Random(seed - n))) for n in range(threads)]
    for worker in workers:
        worker.start()
    asyncio.run(loop())
    for worker in workers:
        worker.join()


def check(both: list[Side], publisher: RecordingPublisher, expected: int) -> None:
    """Verdicts as each agent's own policy has them; events and outcomes under the name of who acted, none lost."""
    assert sum(side.opened.total() + len(side.refused) for side in both) == expected
    events = publisher.events()
    for side in both:
        assert not side.blocked & set(side.opened)
        assert set(side.refused.values()) <= side.blocked
        asked = {
            e.action_id: int(Path(e.resource).name)
            for e in events
            if isinstance(e, Action) and e.agent_id == side.name and Path(e.resource).parent == side.files
        }
        came_of_it = {e.action_id: e.status for e in events if isinstance(e, Outcome) and e.agent_id == side.name}
        denied = {action for action, status in came_of_it.items() if status is OutcomeStatus.DENIED}
        assert {action: asked[action] for action in denied & set(asked)} == side.refused
        assert Counter(n for action, n in asked.items() if action not in denied) == side.opened
        assert {came_of_it[action] for action in asked if action not in denied} <= {OutcomeStatus.OK}


@given(file_sets, file_sets, st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_no_verdict_event_or_outcome_belongs_to_the_other(a: frozenset[int], b: frozenset[int], seed: int) -> None:
    publisher = RecordingPublisher()
    with sides({"a": a, "b": b}, publisher) as both:
        hammer(both, seed, threads=4, actions=15, tasks=12)
    check(both, publisher, 4 * 15 + 12 * 2)


def test_nor_under_heavy_traffic() -> None:
    publisher = RecordingPublisher()
    with sides({"a": frozenset({0, 2, 4}), "b": frozenset({0, 1, 3, 5})}, publisher) as both:
        hammer(both, seed=1, threads=16, actions=200, tasks=400)
    check(both, publisher, 16 * 200 + 400 * 2)
