"""`with vt.monitor(..., floor="require")`: native code, threads and children are governed; nothing is told twice."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from sdk.floor.conftest import Ran
from vaultak import ActionBlockedError, AgentKilledError, ConfigurationError, Vaultak, VaultakError
from vaultak.testing import RecordingPublisher

R = TypeVar("R")
libc = ctypes.CDLL(None, use_errno=True)


def in_thread(body: Callable[[], R]) -> R:
    """A filter stays for the life of its thread: so not on the one that runs the tests."""
    results: list[R] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(body())
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    if errors:
        raise errors[0]
    return results[0]


def seen_by(client: Vaultak) -> Ran:
    assert isinstance(client._publisher, RecordingPublisher)
    return Ran(0, client._publisher)


Make = Callable[..., Vaultak]


def layers(client: Vaultak, action_type: str, path: Path) -> list[str | None]:
    """Which layer saw each action on a path."""
    return [a.assurance for a in seen_by(client).actions if a.action_type == action_type and a.resource == str(path)]


def test_native_code_is_governed(make_client: Make, tmp_path: Path) -> None:
    secret, plain = tmp_path / "secret.env", tmp_path / "plain"
    secret.write_text("")
    plain.write_text("")
    client = make_client(blocked_resources=["*.env"])

    def body() -> tuple[int, int, int]:
        with client.monitor("a", floor="require"):
            return (
                libc.unlink(bytes(secret)),
                libc.open(bytes(secret), os.O_RDONLY),
                libc.unlink(bytes(plain)),
            )

    assert in_thread(body) == (-1, -1, 0)
    assert (secret.exists(), plain.exists()) == (True, False)
    assert layers(client, "file_delete", secret) == layers(client, "file_delete", plain) == ["floor"]


def test_children_and_threads_are_governed(make_client: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret.env"
    secret.write_text("key")
    client = make_client(blocked_resources=["*.env"])

    def body() -> bytes:
        with client.monitor("a", floor="require"):
            thread = threading.Thread(target=lambda: libc.unlink(bytes(secret)))
            thread.start()
            thread.join()
            return subprocess.run(["sh", "-c", "cd $0; cat *.e*", tmp_path], capture_output=True).stdout

    assert in_thread(body) == b""
    assert secret.exists()
    assert layers(client, "file_delete", secret) == ["floor"]


WAYS: dict[str, Callable[[Path, int], object]] = {
    "write, rename, read, chmod, unlink": lambda d, _: (
        (d / "one").write_text("1"),
        os.rename(d / "one", d / "two"),
        (d / "two").read_text(),
        os.chmod(d / "two", 0o600),
        (d / "two").unlink(),
    ),
    "links": lambda d, _: (
        (d / "f").touch(),
        os.link(d / "f", d / "l"),
        os.symlink("f", d / "s"),
        os.truncate(d / "f", 0),
    ),
    "tree": lambda d, _: ((d / "t/u").mkdir(parents=True), (d / "t/u/f").touch(), shutil.rmtree(d / "t")),
    "temporary files": lambda d, _: (tempfile.TemporaryFile().close(), tempfile.NamedTemporaryFile().close()),
    "run": lambda d, _: subprocess.run(["true"], check=True),
    "os.system": lambda d, _: os.system("true"),
    "posix_spawn": lambda d, _: os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0),
    "a path to search": lambda d, _: subprocess.run(["true"], env={"PATH": "/nonexistent:/usr/bin:/bin"}),
    "connect by name": lambda d, port: socket.create_connection(("localhost", port)).close(),
    "connect by address": lambda d, port: socket.create_connection(("127.0.0.1", port)).close(),
    "listen": lambda d, _: socket.create_server(("127.0.0.1", 0)).close(),
    "kill": lambda d, _: _kill(subprocess.Popen(["sleep", "9"])),
}


def _kill(child: subprocess.Popen[bytes]) -> None:
    os.kill(child.pid, 9)
    child.wait()


@pytest.mark.parametrize("way", WAYS)
def test_what_the_hook_has_judged_is_on_record_once(make_client: Make, tmp_path: Path, way: str) -> None:
    client = make_client()

    def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, client.monitor("a", floor="require"):
            WAYS[way](tmp_path, server.getsockname()[1])

    in_thread(body)
    actions = seen_by(client).actions
    assert actions
    assert [(str(a.action_type), a.resource) for a in actions if a.assurance == "floor"] == []


def test_imports_work_under_an_allow_list(make_client: Make, tmp_path: Path) -> None:
    client = make_client(allowed_resources=[f"{tmp_path}/*", "module:*", "code:*", "native:*"])

    def body() -> object:
        with client.monitor("a", floor="require"):
            import sqlite3
            import xml.dom.minidom

            return sqlite3.sqlite_version, xml.dom.minidom

    assert in_thread(body)
    assert [a for a in seen_by(client).actions if a.local and a.local.decision == "block"] == []


def test_the_floor_is_idle_after_the_block_and_back_in_the_next(make_client: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret.env"
    client = make_client(blocked_resources=["*.env"])

    def body() -> list[bool]:
        allowed = []
        for agent in ("a", "b"):
            with client.monitor(agent, floor="require"):
                allowed.append(libc.creat(bytes(secret), 0o600) >= 0)
            allowed.append(libc.creat(bytes(secret), 0o600) >= 0)
        return allowed

    assert in_thread(body) == [False, True, False, True]
    assert {a.agent_id for a in seen_by(client).actions if a.resource == str(secret)} == {"a", "b"}


def test_the_innermost_monitor_counts(make_client: Make, tmp_path: Path) -> None:
    outer, inner = make_client(blocked_resources=["*/x"]), make_client(blocked_resources=["*/y"])
    names = [bytes(tmp_path / "x"), bytes(tmp_path / "y")]

    def body() -> list[list[bool]]:
        with outer.monitor("a", floor="require"):
            with inner.monitor("b", floor="require"):
                first = [libc.creat(name, 0o600) >= 0 for name in names]
            return [first, [libc.creat(name, 0o600) >= 0 for name in names]]

    assert in_thread(body) == [[True, False], [False, True]]


def test_a_thread_that_inherited_the_floor_may_be_another_agents(make_client: Make, tmp_path: Path) -> None:
    """Both hold: the outer agent's floor, and the inner agent's interception; nothing is on record twice."""
    outer, inner = make_client(blocked_resources=["*/x"]), make_client(blocked_resources=["*/y"])
    found: list[bool] = []

    def work() -> None:
        with inner.monitor("b", floor="require"):
            found.append(libc.creat(bytes(tmp_path / "x"), 0o600) >= 0)
            (tmp_path / "z").write_text("")
            with pytest.raises(ActionBlockedError):
                (tmp_path / "y").write_text("")

    def body() -> None:
        with outer.monitor("a", floor="require"):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    in_thread(body)
    assert found == [False]
    assert layers(outer, "file_write", tmp_path / "z") == []
    assert layers(inner, "file_write", tmp_path / "z") == ["hook"]


def test_a_paused_child_waits_for_an_approval(make_client: Make, tmp_path: Path) -> None:
    risky = tmp_path / "prod.env"
    risky.write_text("")
    client = make_client(max_risk_score=0.7, mode="pause", pause_timeout_s=30)
    monitor = client.monitor("a", floor="require")

    def body() -> int:
        with monitor:
            return subprocess.run(["sh", "-c", "cd $0; rm prod.*", tmp_path]).returncode

    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(in_thread(body)))
    thread.start()
    deadline = time.monotonic() + 20
    while "pause" not in seen_by(client).decisions("file_delete", str(risky)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert risky.exists()
    monitor.approve()
    thread.join(20)
    assert results == [0]
    assert not risky.exists()


def test_a_child_changes_are_rolled_back_where_python_made_them(make_client: Make, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("before")
    client = make_client()

    def body() -> int:
        with client.monitor("a", floor="require") as m:
            kept.write_text("after")
            return len(m.rollback(10))

    assert in_thread(body) == 1
    assert kept.read_text() == "before"
    assert layers(client, "file_write", kept) == ["hook"]


def test_a_kill_below_python_kills_the_agent(make_client: Make, tmp_path: Path) -> None:
    client = make_client(blocked_resources=["*/trap"], mode="kill")
    (tmp_path / "trap").write_text("")
    monitor = client.monitor("a", floor="require")

    def body() -> int:
        with monitor:
            return subprocess.run(["sh", "-c", "cd $0; cat tr*; sleep 60", tmp_path]).returncode

    start_s = time.monotonic()
    with contextlib.suppress(AgentKilledError):  # when the thread was told before it saw its child's end
        assert in_thread(body) == -9
    assert time.monotonic() - start_s < 10
    deadline = time.monotonic() + 5
    while str(monitor.state) != "killed":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_forked_children_of_python(make_client: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret.env"
    secret.write_text("")
    script = tmp_path / "main.py"
    script.write_text(
        "import ctypes, os, sys\n"
        "from vaultak import Vaultak\n"
        "vt = Vaultak(blocked_resources=['*.env'], max_risk_score=1.0)\n"
        "libc = ctypes.CDLL(None)\n"
        "with vt.monitor('a', floor='require'):\n"
        "    pid = os.fork()\n"
        f"    code = libc.unlink({bytes(secret)!r})\n"
        "    if pid == 0: os._exit(7 if code == -1 else 0)\n"
        "    sys.exit(0 if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7 and code == -1 else 1)\n"
    )
    env = {**os.environ, "VAULTAK_DATA_DIR": str(tmp_path / "data"), "VAULTAK_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    assert subprocess.run([sys.executable, script], env=env, timeout=60).returncode == 0
    assert secret.exists()


def test_no_deadlock_with_many_threads_and_libraries(make_client: Make, tmp_path: Path) -> None:
    client = make_client()

    def body() -> int:
        def work(n: int) -> None:
            for i in range(20):
                (tmp_path / f"{n}-{i}").write_text("x")
                assert ctypes.CDLL("libm.so.6").fabs
                libc.unlink(bytes(tmp_path / f"{n}-{i}"))

        with client.monitor("a", floor="require"):
            threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return len(list(tmp_path.iterdir()))

    assert in_thread(body) == 0


def test_an_unknown_floor_is_refused(make_client: Make) -> None:
    with pytest.raises(ConfigurationError, match="floor: `carpet` is unknown"):
        make_client(floor="carpet")


def test_where_there_is_no_floor(make_client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultak.floor.kernel.reason_unavailable", lambda: "the kernel has none")
    with make_client(floor="auto").monitor("a"):
        pass
    with pytest.raises(VaultakError, match="no floor: the kernel has none"):
        make_client().monitor("a", floor="require").__enter__()
