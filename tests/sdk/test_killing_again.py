"""A kill that follows another, or a resume; children of a killed agent, whoever made them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultak import ActionType, AgentKilledError, Monitor, Vaultak
from vaultak.config import Settings
from vaultak.testing import RecordingPublisher
from vaultak.wire import Command, CommandType, format_ts

DEADLINE_S = 10.0

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are followed on Linux")


def client(directory: Path) -> Vaultak:
    return Vaultak(
        publisher=RecordingPublisher(),
        settings=Settings.from_env({"VAULTAK_DATA_DIR": str(directory / "data")}),
        max_actions_per_minute=100_000,
        max_risk_score=1.0,
        rollback_limit=0,
    )


@pytest.fixture
def vt(tmp_path: Path) -> Iterator[Vaultak]:
    with client(tmp_path) as made:
        yield made


def order(monitor: Monitor, command: CommandType, epoch: int) -> str:
    """As a verified command of an operator."""
    now = time.time()
    result, detail = monitor._agent.obey(
        Command(
            command_id=f"{command}{epoch}",
            agent_id=monitor.agent_id,
            command=command,
            ts=format_ts(now),
            expires_at=format_ts(now + 60),
            issued_by="test",
            epoch=epoch,
        )
    )
    return f"{result} {detail}"


def looping(vt: Vaultak, name: str) -> threading.Thread:
    """A thread that works for the agent; it does by the time this returns."""
    works = threading.Event()

    def run() -> None:
        with contextlib.suppress(AgentKilledError), vt.monitor(name):
            while True:
                works.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert works.wait(DEADLINE_S)
    return thread


def test_an_agent_killed_and_resumed_works_again_until_the_next_kill(vt: Vaultak, tmp_path: Path) -> None:
    m = vt.monitor("again")
    for epoch in range(1, 30, 2):
        thread = looping(vt, "again")
        assert order(m, CommandType.KILL, epoch) == "applied killed"
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        time.sleep(epoch * 0.002)  # at every stage of the hunt that is under way
        assert order(m, CommandType.RESUME, epoch) != "applied running", "an older command brought it back"
        assert order(m, CommandType.RESUME, epoch + 1) == "applied running"
        with vt.monitor("again"):
            (tmp_path / "f").write_text("works again")


@linux
def test_each_kill_of_a_name_ends_children_though_another_is_under_way(tmp_path: Path) -> None:
    for n in range(8):
        with client(tmp_path) as vt:
            with vt.monitor("named") as m:
                child = subprocess.Popen(["sleep", "60"])
            order(m, CommandType.KILL, 1)
            assert child.wait(DEADLINE_S) == -signal.SIGKILL
            time.sleep(n * 0.01)  # at every stage of the hunt that is under way


@linux
def test_a_kill_spares_the_children_of_who_is_not_killed(tmp_path: Path) -> None:
    """Of another client's agent of that name, and of an agent that was resumed."""
    with client(tmp_path) as killed, client(tmp_path) as other:
        with killed.monitor("same") as m:
            order(m, CommandType.KILL, 1)
        with other.monitor("same"):
            child = subprocess.Popen(["sleep", "60"])
        order(m, CommandType.RESUME, 2)
        with killed.monitor("same"):
            second = subprocess.Popen(["sleep", "60"])
        try:
            time.sleep(0.2)
            assert (child.poll(), second.poll()) == (None, None)
        finally:
            child.kill()
            child.wait()
            second.kill()
            second.wait()


@linux
def test_a_kill_ends_forked_children(vt: Vaultak) -> None:
    with vt.monitor("forks") as m:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                while True:
                    time.sleep(1)
            os._exit(3)
    order(m, CommandType.KILL, 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@linux
@pytest.mark.filterwarnings("ignore:resource_tracker")  # a process that the agent's own start began: it is ended too
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_kill_ends_processes_of_multiprocessing(vt: Vaultak, method: str) -> None:
    context = multiprocessing.get_context(method)
    with vt.monitor(f"multi {method}") as m:
        process = context.Process(target=time.sleep, args=(60,))
        process.start()
    order(m, CommandType.KILL, 1)
    process.join(DEADLINE_S)
    assert not process.is_alive()


def test_a_forked_child_whose_parent_is_being_killed_can_kill_on_its_own(vt: Vaultak, tmp_path: Path) -> None:
    """What is known of threads and hunts is the parent's: the child begins with none."""
    inside, stop = threading.Event(), threading.Event()
    other = threading.Thread(target=lambda: _holds(vt, inside, stop))
    other.start()
    assert inside.wait(DEADLINE_S)
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            thread = looping(vt, "held")
            order(vt.monitor("held"), CommandType.KILL, 1)
            thread.join(DEADLINE_S)
            code = 7 if not thread.is_alive() else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    stop.set()
    other.join()


def _holds(vt: Vaultak, inside: threading.Event, stop: threading.Event) -> None:
    with vt.monitor("held"):
        inside.set()
        stop.wait(DEADLINE_S)


@pytest.mark.parametrize("how", ["finally", "except BaseException"])
def test_nothing_that_runs_on_the_way_out_acts_any_more(vt: Vaultak, tmp_path: Path, how: str) -> None:
    denied: list[type[BaseException]] = []

    def last_words() -> None:
        for action in (lambda: (tmp_path / "last").write_text("x"), lambda: os.mkdir(tmp_path / "dir")):
            try:
                action()
            except BaseException as e:
                denied.append(type(e))

    works = threading.Event()

    def run() -> None:
        with contextlib.suppress(AgentKilledError), vt.monitor(how):
            try:
                while True:
                    works.set()
            except BaseException:
                if how != "finally":
                    last_words()
                raise
            finally:
                if how == "finally":
                    last_words()

    thread = threading.Thread(target=run)
    thread.start()
    assert works.wait(DEADLINE_S)
    order(vt.monitor(how), CommandType.KILL, 1)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert sorted(os.listdir(tmp_path)) in ([], ["data"])
    assert denied
    assert all(issubclass(error, AgentKilledError) for error in denied)
    with pytest.raises(AgentKilledError):
        vt.monitor(how, intercept=False).before(ActionType.CUSTOM, "anything", {})
