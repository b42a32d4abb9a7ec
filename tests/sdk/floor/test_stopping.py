"""Kill, and what happens when the supervisor itself dies or is attacked."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sdk.floor.conftest import Ran, Run
from vaultak import Vaultak
from vaultak.floor import run_under_floor
from vaultak.floor.tracee import descendants
from vaultak.undo import UndoLog, agent_directory


def _until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _supervisor() -> int:
    found: list[int] = []

    def look() -> bool:
        found[:] = [pid for pid in descendants(os.getpid()) if "vaultak.floor.process" in _command_line(pid)]
        return bool(found)

    _until(look)
    return found[0]


def test_a_kill_ends_every_process_below_the_floor(run: Run, tmp_path: Path) -> None:
    (tmp_path / "trap").write_text("")
    script = "sleep 61.5 & setsid sleep 61.5 & (sh -c 'sleep 61.5; true' &) ; read x < trap; echo x > out; sleep 9"
    start_s = time.monotonic()
    ran = run("sh", "-c", script, blocked_resources=["*/trap"], mode="kill")
    assert ran.code == 137
    assert time.monotonic() - start_s < 5
    assert not (tmp_path / "out").exists()
    assert ran.decisions("file_read", str(tmp_path / "trap")) == ["kill"]
    assert not [pid for pid in descendants(1) if "sleep 61.5" in _command_line(pid)]


def test_without_its_supervisor_every_judged_call_fails(run: Run, tmp_path: Path) -> None:
    script = (
        "exec 3> out; echo started >&3; while [ ! -e go ]; do :; done; "
        "(echo x > after) 2>&3; (cat other) 2>&3; (rm other) 2>&3; mkdir d; echo ended >&3"
    )
    (tmp_path / "other").write_text("")
    results: list[Ran] = []
    runner = threading.Thread(target=lambda: results.append(run("sh", "-c", script)))
    runner.start()
    out = tmp_path / "out"
    _until(lambda: out.exists() and "started" in out.read_text())
    os.kill(_supervisor(), signal.SIGKILL)
    runner.join(10)
    assert results[0].code == 125
    (tmp_path / "go").touch()
    _until(lambda: "ended" in out.read_text())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["go", "other", "out"]


def test_the_supervisor_cannot_be_signalled_or_written_to(run: Run, tmp_path: Path) -> None:
    script = (
        "s=$(awk '/^PPid/{print $2}' /proc/$$/status); kill -9 $s; kill -9 -1; cat /proc/$s/environ > stolen; "
        "for t in /proc/$s/task/*; do cat /proc/${t##*/}/environ >> stolen; echo x > /proc/${t##*/}/mem; done; "
        "echo x > /proc/$s/mem; ls -d /proc/$s/task/* > seen; echo done > out"
    )
    ran = run("sh", "-c", script)
    assert ran.code == 0
    assert (tmp_path / "out").read_text() == "done\n"
    assert (tmp_path / "stolen").read_text() == ""
    assert (tmp_path / "seen").read_text().count("/task/") > 1


def test_the_memory_of_other_processes_cannot_be_written(python: Callable[..., Ran]) -> None:
    code = (
        "import os\nfor pid, want in ((os.getpid(), True), (int(open('/proc/self/stat').read().split()[3]), False),"
        f" ({os.getpid()}, False)):\n"
        "    try: os.close(os.open(f'/proc/{pid}/mem', os.O_RDWR)); got = True\n"
        "    except PermissionError: got = False\n"
        "    assert got is want, pid\n"
    )
    assert python(code).code == 0


def test_what_is_left_behind_stays_under_the_floor(run: Run, tmp_path: Path) -> None:
    script = "(while [ ! -e go ]; do :; done; cat secret.env > copy; echo tried > out) &"
    (tmp_path / "secret.env").write_text("key")
    ran = run("sh", "-c", script, blocked_resources=["*.env"])
    assert ran.code == 0
    (tmp_path / "go").touch()
    _until(lambda: (tmp_path / "out").exists())
    assert (tmp_path / "copy").read_text() == ""


def test_sandboxes_and_other_ways_out_are_closed(python: Callable[..., Ran], tmp_path: Path) -> None:
    code = """
import ctypes, errno, os, platform
libc = ctypes.CDLL(None, use_errno=True)
arm = platform.machine() == "aarch64"
def call(x86, number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(number if arm else x86, *arguments)
    return errno.errorcode.get(ctypes.get_errno())
found = {
    "ptrace": call(101, 117, 0, 0, 0, 0), "unshare": call(272, 97, 0x10000000), "io_uring": call(425, 425, 8, 0),
    "mount": call(165, 40, 0, 0, 0, 0, 0), "process_vm_writev": call(311, 271, 1, 0, 0, 0, 0, 0),
    "clone3": call(435, 435, 0, 0), "bpf": call(321, 280, 0, 0, 0), "pidfd_getfd": call(438, 438, 0, 0, 0),
    "clone": call(56, 220, 0x10000000 | 17, 0, 0, 0, 0), "TIOCSTI": call(16, 29, 0, 0x5412, 0),
    "handle": call(304, 265, 0, 0, 0),
}
print(found)
want = {name: "ENOSYS" if name in ("io_uring", "clone3") else "EPERM" for name in found}
raise SystemExit(found != want)
"""
    assert python(code).code == 0


def test_what_a_program_did_can_be_rolled_back(run: Run, make_client: Callable[..., Vaultak], tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("before")
    (tmp_path / "other").write_text("other")
    client = make_client(rollback_limit=100)
    script = "echo after > kept; rm other; mkdir d; mv kept d/moved; ln -s x link; chmod 0 d/moved"
    assert run_under_floor(["sh", "-c", script], client=client, agent_id="a") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "link"]
    (journal,) = agent_directory(client.settings.data_dir, "a").iterdir()
    assert {step.status for step in UndoLog(journal, "a").rollback(100)} == {"reversed"}
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"kept": "before", "other": "other"}
