"""A Python child of an agent is the agent: whatever way it was started, what is forbidden does not happen in it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sdk.heirs import denied, left_behind
from vaultak import ActionBlockedError, Vaultak
from vaultak.config import Settings
from vaultak.inherit.pythons import shuts_out
from vaultak.testing import RecordingPublisher
from vaultak.wire import Action, AgentState

PYTHON = sys.executable


class Place(NamedTuple):
    """A directory in which `secret` may not be written, and all else may."""

    root: Path
    data_dir: Path

    @property
    def secret(self) -> Path:
        return self.root / "secret"

    @property
    def program(self) -> str:
        return f"open({str(self.secret)!r}, 'w')"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, tmp_path / "data")


@pytest.fixture
def vt(place: Place) -> Iterator[Vaultak]:
    with Vaultak(
        publisher=RecordingPublisher(),
        settings=Settings.from_env({"VAULTAK_DATA_DIR": str(place.data_dir)}),
        blocked_resources=[str(place.secret)],
        max_risk_score=1.0,
        max_actions_per_minute=100_000,
        state_timeout_s=0,
    ) as client:
        yield client


def _quiet(*argv: str, **more: object) -> object:
    return subprocess.run(argv, stderr=subprocess.DEVNULL, check=False, **more)  # type: ignore[call-overload]


def _waited(pid: int) -> None:
    os.waitpid(pid, 0)


def _exec_in_fork(place: Place) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.execv(PYTHON, [PYTHON, "-c", place.program])
        finally:
            os._exit(3)
    _waited(pid)


def _script(place: Place) -> str:
    script = place.root / "script.py"
    script.write_text(f"#!{PYTHON}\n{place.program}\n")
    script.chmod(0o755)
    return str(script)


def _process(kind: str) -> Callable[[Place], object]:
    def start(place: Place) -> None:
        process = multiprocessing.get_context(kind).Process(target=Path.touch, args=(place.secret,))
        process.start()
        process.join()

    return start


WAYS: dict[str, Callable[[Place], object]] = {
    "subprocess": lambda p: _quiet(PYTHON, "-c", p.program),
    "cleared environment": lambda p: _quiet(PYTHON, "-c", p.program, env={}),
    "heritage taken out": lambda p: _quiet(PYTHON, "-c", p.program, env={"VAULTAK_INHERIT": "", "PYTHONPATH": "/"}),
    "program on standard input": lambda p: _quiet(PYTHON, "-", input=p.program.encode()),
    "shell": lambda p: _quiet("sh", "-c", f'{PYTHON} -c "{p.program}"'),
    "os.system": lambda p: os.system(f'{PYTHON} -c "{p.program}" 2>/dev/null'),
    "os.popen": lambda p: os.popen(f'{PYTHON} -c "{p.program}" 2>/dev/null').read(),
    "os.posix_spawn": lambda p: _waited(os.posix_spawn(PYTHON, [PYTHON, "-c", p.program], {})),
    "os.spawnv": lambda p: os.spawnv(os.P_WAIT, PYTHON, [PYTHON, "-c", p.program]),
    "os.spawnve": lambda p: os.spawnve(os.P_WAIT, PYTHON, [PYTHON, "-c", p.program], {}),
    "os.execv in a fork": _exec_in_fork,
    "a script that names its interpreter": lambda p: _quiet(_script(p)),
    "a grandchild": lambda p: _quiet(
        PYTHON, "-c", f"import subprocess; subprocess.run([{PYTHON!r}, '-c', {p.program!r}])"
    ),
    "multiprocessing fork": _process("fork"),
    "multiprocessing spawn": _process("spawn"),
    "multiprocessing forkserver": _process("forkserver"),
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.replace(" ", "_"))
def test_what_is_forbidden_does_not_happen_in_a_child(vt: Vaultak, place: Place, way: str) -> None:
    with vt.monitor("parent", session_id="session", labels={"role": "tester"}):
        WAYS[way](place)
    assert not place.secret.exists()
    if way in ("multiprocessing fork", "multiprocessing forkserver"):
        return  # the one shares the recorder of its parent, the other's server outlives the test with its spool
    events = left_behind(place.data_dir)
    assert str(place.secret) in denied(events)
    assert {(e.agent_id, e.session_id) for e in events} == {("parent", "session")}
    assert all(e.labels == {"role": "tester"} for e in events if isinstance(e, Action))


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork server here")
def test_a_fork_server_of_the_host_starts_nothing_for_an_agent(vt: Vaultak, place: Place) -> None:
    """It ran before the monitor and inherits none: what it forks would be governed by nobody."""
    context = multiprocessing.get_context("forkserver")
    before = context.Process(target=time.sleep, args=(0,))
    before.start()
    before.join(30)
    with vt.monitor("parent") as m:
        WAYS["multiprocessing forkserver"](place)
        assert not place.secret.exists()
        held = context.Process(target=time.sleep, args=(60,))
        held.start()
    m._agent._set_state(AgentState.KILLED, "enough")
    held.join(10)
    assert not held.is_alive()
    after = context.Process(target=time.sleep, args=(0,))
    after.start()
    after.join(30)
    assert after.exitcode == 0


def test_what_is_allowed_happens_in_a_child_and_is_on_record(vt: Vaultak, place: Place) -> None:
    with vt.monitor("parent") as m:
        done = subprocess.run(
            [PYTHON, "-c", f"print(1); open({str(place.root / 'fine')!r}, 'w').close()"],
            capture_output=True,
            check=True,
        )
    assert (done.stdout, done.stderr) == (b"1\n", b"")
    assert (place.root / "fine").exists()
    written = [e for e in left_behind(place.data_dir) if isinstance(e, Action)]
    assert [e.resource for e in written if e.action_type == "file_write"] == [str(place.root / "fine")]
    assert {e.session_id for e in written} == {m.session_id}


@pytest.mark.parametrize("flag", ["-I", "-E", "-S", "-IBc", "-sSc"])
def test_a_python_that_would_leave_its_monitor_behind_does_not_start(vt: Vaultak, place: Place, flag: str) -> None:
    argv = [PYTHON, flag, place.program] if flag.endswith("c") else [PYTHON, flag, "-c", place.program]
    with vt.monitor("parent") as m, pytest.raises(ActionBlockedError, match="does not inherit"):
        subprocess.run(argv, check=False)
    assert not place.secret.exists()
    assert [e.status for e in m.audit_trail() if "does not inherit" in e.error] == ["denied"]


def _runs(name: str) -> bool:
    path = shutil.which(name)
    return path is not None and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0


def test_an_interpreter_that_cannot_have_a_monitor_does_not_run(vt: Vaultak, place: Place) -> None:
    """One that has neither the SDK nor what it needs: `sources` of the parent are for another version."""
    others = [name for name in ("python3.10", "python3.12", "python3.13", "python2.7") if _runs(name)]
    if not others:
        pytest.skip("there is no Python of another version here")
    with vt.monitor("parent"):
        done = subprocess.run([others[0], "-c", place.program], capture_output=True, text=True, check=False)
    assert not place.secret.exists()
    assert done.returncode == 126, done
    assert "does not run" in done.stderr


def test_a_heritage_that_was_changed_is_not_obeyed(vt: Vaultak, place: Place) -> None:
    with vt.monitor("parent") as m:
        value = m.hand_down()
    Path(value.partition(":")[2]).write_text("{}")
    site = Path(sys.modules["vaultak.inherit"].__file__ or "").parent / "site"
    done = subprocess.run(
        [PYTHON, "-c", place.program],
        env=os.environ | {"VAULTAK_INHERIT": value, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 126
    assert "is not what the parent handed down" in done.stderr
    assert not place.secret.exists()


def test_outside_every_monitor_children_are_nobodys(vt: Vaultak, place: Place) -> None:
    with vt.monitor("parent"):
        pass
    subprocess.run([PYTHON, "-I", "-c", place.program], check=True)
    assert place.secret.exists()


def test_a_monitor_of_explicit_actions_alone_hands_nothing_down(vt: Vaultak, place: Place) -> None:
    with vt.monitor("intercepting"):
        pass
    with vt.monitor("explicit", intercept=False):
        subprocess.run([PYTHON, "-I", "-c", place.program], check=True)
        subprocess.run([PYTHON, "-c", "import os; assert 'VAULTAK_INHERIT' not in os.environ"], check=True)
    assert place.secret.exists()


def test_the_hosts_own_sitecustomize_still_runs(vt: Vaultak, place: Place) -> None:
    (place.root / "sitecustomize.py").write_text("import builtins; builtins.host_was_here = True")
    with vt.monitor("parent"):
        done = subprocess.run(
            [PYTHON, "-c", "print(host_was_here)"],
            env=os.environ | {"PYTHONPATH": str(place.root)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    ("argv", "flag"),
    [
        (["python3", "-I", "x.py"], "-I"),
        (["python3.11", "-bE", "x.py"], "-E"),
        (["python", "-W", "ignore", "-S"], "-S"),
        (["python", "-Xdev", "-I"], "-I"),
        (["python", "x.py", "-I"], ""),
        (["python", "-c", "-I"], ""),
        (["python", "-cpass", "-S"], ""),
        (["python", "-m", "mod", "-E"], ""),
        (["python", "-W", "-I", "x.py"], ""),
        (["ls", "-I", "x"], ""),
        (["pythonista", "-I"], ""),
    ],
)
def test_flags_of_the_interpreter_are_told_from_those_of_its_program(argv: list[str], flag: str) -> None:
    assert shuts_out(f"/nowhere/{argv[0]}", argv) == flag
