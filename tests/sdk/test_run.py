"""`vaultak run -- COMMAND`: a program that knows nothing of Vaultak is an agent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sdk.heirs import denied, left_behind
from vaultak.floor import reason_unavailable
from vaultak.wire import Action, Context

needs_floor = pytest.mark.skipif(bool(reason_unavailable()), reason=reason_unavailable() or "there is a floor")

PROGRAM = """
import subprocess, sys
print("arguments", sys.argv[1:])
try:
    open("secret", "w")
except Exception as e:
    print(type(e).__name__)
open("fine", "w").close()
sys.exit(7)
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    (directory / "program.py").write_text(PROGRAM)
    return directory


@pytest.fixture
def run(home: Path, data_dir: Path) -> Run:
    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vaultak", "run", *arguments],
            cwd=home,
            env=os.environ | {"VAULTAK_DATA_DIR": str(data_dir)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return start


@pytest.mark.parametrize("command", [("program.py",), ("-m", "program"), ("-B", "program.py")])
def test_a_python_program_is_monitored_from_its_first_line(
    run: Run, home: Path, data_dir: Path, command: tuple[str, ...]
) -> None:
    done = run("--agent-id", "ran", "--block", f"{home}/secret", "--task", "be good", "--label", "team=a", "--",
               sys.executable, *command, "--help", "x")  # fmt: skip
    assert (done.returncode, done.stdout) == (7, "arguments ['--help', 'x']\nActionBlockedError\n"), done.stderr
    assert (home / "fine").exists()
    assert not (home / "secret").exists()
    events = left_behind(data_dir)
    assert denied(events) == {str(home / "secret")}
    assert {e.agent_id for e in events} == {"ran"}
    assert len({e.session_id for e in events}) == 1
    assert [e.content for e in events if isinstance(e, Context)] == ["be good"]
    assert all(e.labels == {"team": "a"} for e in events if isinstance(e, Action))


def test_a_script_that_names_python_is_a_python_program(run: Run, home: Path) -> None:
    script = home / "script"
    script.write_text(f"#!{sys.executable}\n{PROGRAM}")
    script.chmod(0o755)
    done = run("--block", f"{home}/secret", "--", "./script")
    assert (done.returncode, done.stdout) == (7, "arguments []\nActionBlockedError\n"), done.stderr


def test_another_program_is_refused_without_the_floor(run: Run, home: Path) -> None:
    done = run("--", "touch", "fine")
    assert done.returncode == 126
    assert done.stderr.endswith("`touch` is no Python program: only the floor can monitor it; add `--floor auto`\n")
    assert not (home / "fine").exists()


@needs_floor
def test_another_program_runs_under_the_floor(run: Run, home: Path) -> None:
    done = run("--floor", "auto", "--block", f"{home}/secret", "--", "sh", "-c", "touch fine; touch secret; exit 5")
    assert done.returncode == 5, done.stderr
    assert (home / "fine").exists()
    assert not (home / "secret").exists()


@needs_floor
def test_the_children_of_a_python_program_are_under_the_floor_too(run: Run, home: Path) -> None:
    hidden = "cd ..; cd home; touch sec''ret"  # nothing that the arguments would show
    (home / "parent.py").write_text(f"import subprocess; subprocess.run(['sh', '-c', {hidden!r}])")
    done = run("--floor", "require", "--block", f"{home}/secret", "--", sys.executable, "parent.py")
    assert not (home / "secret").exists(), done.stderr


def test_a_terminating_signal_reaches_the_program(home: Path, data_dir: Path) -> None:
    (home / "waits.py").write_text(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "open('ready', 'w').close()\ntime.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultak", "run", "--", sys.executable, "waits.py"],
        cwd=home,
        env=os.environ | {"VAULTAK_DATA_DIR": str(data_dir)},
    )
    deadline = time.monotonic() + 30
    while not (home / "ready").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 9


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ((), 2, "no command; put it behind `--`"),
        (("--", "no-such-program"), 127, "no program `no-such-program`"),
        (("--label", "x", "--", "python"), 2, "`x` is not NAME=VALUE"),
        (("--policy", "/nowhere", "--", "python"), 2, "VAULTAK_POLICY: no file at `/nowhere`"),
        (("--", sys.executable, "-I", "program.py"), 126, "keeps the monitor out"),
    ],
)
def test_a_wrong_call_says_so_in_one_line(run: Run, arguments: tuple[str, ...], code: int, line: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert line in done.stderr.splitlines()[-1]
