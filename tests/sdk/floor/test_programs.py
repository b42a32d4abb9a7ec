"""Any program under the floor: what is denied has not happened, what is allowed has, and the audit has both."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sdk.floor.conftest import Ran, Run
from vaultak.redact import Redaction


def test_a_blocked_file_cannot_be_read_by_any_program(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    secret = tmp_path / "secret.env"
    secret.write_text("key")
    ran = run("cat", "secret.env", blocked_resources=["*.env"])
    assert ran.code == 1
    assert "key" not in capfd.readouterr().out
    assert ran.decisions("file_read", str(secret)) == ["block"]
    assert ran.status("file_read", str(secret)) == ["denied"]


def test_an_allowed_file_is_read(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "plain.txt").write_text("hello")
    ran = run("cat", "plain.txt", blocked_resources=["*.env"])
    assert (ran.code, capfd.readouterr().out) == (0, "hello")
    assert ran.status("file_read", str(tmp_path / "plain.txt")) == ["ok"]


CHANGES = {
    "rm kept": ("file_delete", "kept"),
    "unlink kept": ("file_delete", "kept"),
    "mv kept away": ("file_delete", "kept"),
    "echo x > kept": ("file_write", "kept"),
    "echo x >> kept": ("file_write", "kept"),
    "truncate -s 0 kept": ("file_write", "kept"),
    "cp /etc/hostname kept": ("file_write", "kept"),
    "ln kept linked": ("file_read", "kept"),
    "mv other kept": ("file_write", "kept"),
    "chmod 777 kept": ("permission_change", "kept"),
    "rm -r keptdir": ("file_delete", "keptdir/inner"),
    "mv keptdir away": ("file_delete", "keptdir"),
    "mkdir keptnew": ("file_write", "keptnew"),
    "ln -s other keptnew": ("file_write", "keptnew"),
    "mkfifo keptnew": ("file_write", "keptnew"),
    "touch keptnew": ("file_write", "keptnew"),
    "cp other keptdir/new": ("file_write", "keptdir/new"),
    "cd keptdir && rm inner": ("file_delete", "keptdir/inner"),
    "rm ./keptdir/../keptdir/inner": ("file_delete", "keptdir/inner"),
    "echo x > alias": ("file_write", "kept"),
    "sh -c 'sh -c \"rm kept\"'": ("file_delete", "kept"),
    "(sleep 0; rm kept) & wait": ("file_delete", "kept"),
}


def _tree(root: Path) -> list[tuple[str, int, str]]:
    return sorted(
        (str(p.relative_to(root)), p.lstat().st_mode, p.read_text() if p.is_file() else "") for p in root.rglob("*")
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "kept").write_text("before")
    (tmp_path / "other").write_text("other")
    (tmp_path / "keptdir").mkdir()
    (tmp_path / "keptdir/inner").write_text("inner")
    (tmp_path / "alias").symlink_to("kept")
    return tmp_path


@pytest.mark.parametrize("command", CHANGES)
def test_a_denied_change_has_not_happened(run: Run, tree: Path, command: str) -> None:
    before = _tree(tree)
    kind, name = CHANGES[command]
    # Only the effect itself is denied: not the program whose arguments name the file.
    types = ["process_spawn", *({"file_read", "file_write", "file_delete", "permission_change"} - {kind})]
    ran = run("sh", "-c", command, allowed_action_types=types)
    assert ran.code != 0 or "&" in command
    assert "block" in ran.decisions(kind, str(tree / name))
    assert _tree(tree) == before


@pytest.fixture
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("twin")


@pytest.mark.parametrize("command", CHANGES)
def test_an_allowed_change_has_happened(run: Run, tree: Path, twin: Path, command: str) -> None:
    shutil.copytree(tree, twin, symlinks=True, dirs_exist_ok=True)
    subprocess.run(["sh", "-c", command], cwd=twin, check=True)
    kind, name = CHANGES[command]
    ran = run("sh", "-c", command)
    assert ran.code == 0
    assert ran.decisions(kind, str(tree / name))
    assert _tree(tree) == _tree(twin)


def test_a_blocked_program_does_not_start(run: Run, capfd: pytest.CaptureFixture) -> None:
    who = shutil.which("id")
    ran = run("sh", "-c", "id; echo $?", blocked_resources=["process:*/id"])
    assert "126" in capfd.readouterr().out
    assert ran.decisions("process_spawn", f"process:{os.path.realpath(str(who))}")[:1] == ["block"]


def test_the_interpreter_of_a_script_counts_as_started(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/usr/bin/env sh\ntouch made\n")
    script.chmod(0o755)
    run("sh", "-c", "./script", blocked_resources=["process:/usr/bin/env"])
    assert not (tmp_path / "made").exists()


@pytest.fixture
def server() -> tuple[socket.socket, str]:
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listening,), daemon=True).start()
    yield listening, str(listening.getsockname()[1])
    listening.close()


def _accept(listening: socket.socket) -> None:
    while True:
        try:
            peer, _ = listening.accept()
        except OSError:
            return
        with peer:
            peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")


@pytest.mark.parametrize("allowed", [True, False])
def test_connections_of_a_shell(run: Run, tmp_path: Path, server: tuple[socket.socket, str], allowed: bool) -> None:
    port = server[1]
    blocked = [] if allowed else [f"127.0.0.1:{port}"]
    ran = run("bash", "-c", f"read line < /dev/tcp/127.0.0.1/{port} && echo $line > got", blocked_resources=blocked)
    assert (tmp_path / "got").exists() is allowed
    assert ran.decisions("network_request", f"127.0.0.1:{port}") == ["allow" if allowed else "block"]


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
@pytest.mark.parametrize("allowed", [True, False])
def test_connections_that_do_not_block(run: Run, server: tuple[socket.socket, str], allowed: bool) -> None:
    port = server[1]
    blocked = [] if allowed else ["127.0.0.1:*"]
    ran = run("curl", "-s", f"http://127.0.0.1:{port}/", "-o", "/dev/null", blocked_resources=blocked)
    assert ran.code == (0 if allowed else 7)
    assert ran.decisions("network_request", f"127.0.0.1:{port}") == ["allow" if allowed else "block"]


def test_a_datagram(python: Callable[..., Ran], tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.2)
        port = receiver.getsockname()[1]
        code = (
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            f"for way in (lambda a: s.sendto(b'x', a), lambda a: s.sendmsg([b'x'], [], 0, a)):\n"
            f"    try: way(('127.0.0.1', {port}))\n"
            f"    except PermissionError: pass"
        )
        ran = python(code, blocked_resources=[f"127.0.0.1:{port}"])
        assert ran.decisions("network_request", f"127.0.0.1:{port}") == ["block", "block"]
        with pytest.raises(TimeoutError):
            receiver.recv(1)
        python(code)
        assert receiver.recv(9) + receiver.recv(9) == b"xx"


def test_signals(run: Run) -> None:
    with subprocess.Popen(["sleep", "60"]) as victim:
        ran = run("sh", "-c", f"kill -9 {victim.pid}", blocked_resources=[f"process:pid:{victim.pid}"])
        assert ran.decisions("process_spawn", f"process:pid:{victim.pid}") == ["block"]
        assert victim.poll() is None
        run("sh", "-c", f"kill -9 {victim.pid}")
        assert victim.wait(5) == -9


REAL_WORK = {
    "git": "git init -q . && echo a > a && git add a && git -c user.email=a@b -c user.name=n commit -qm x && git log",
    "tar": "mkdir d && echo a > d/a && tar czf d.tgz d && rm -r d && tar xzf d.tgz && test -f d/a",
    "node": "node -e \"require('fs').writeFileSync('out', 'x'.repeat(9)); require('child_process').execSync('true')\"",
    "pipes": "echo abc | cat | tr a-c A-C | grep ABC",
    "fifo": "mkfifo p && (echo x > p &) && cat p && cat /dev/stdin < /dev/null",
}


@pytest.mark.parametrize("name", REAL_WORK)
def test_programs_do_their_work(run: Run, name: str) -> None:
    if name in ("git", "tar", "node") and not shutil.which(name):
        pytest.skip(f"no {name}")
    assert run("sh", "-ec", REAL_WORK[name]).code == 0


def test_a_static_binary(run: Run, tmp_path: Path) -> None:
    if not shutil.which("go"):
        pytest.skip("no Go")
    source = 'package main\nimport "os"\nfunc main() { if os.Remove("kept.env") != nil { os.Exit(3) } }\n'
    (tmp_path / "x.go").write_text(source)
    (tmp_path / "kept.env").write_text("")
    environment = {**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off", "GOFLAGS": "-p=1"}
    subprocess.run(["go", "build", "-o", "x", "x.go"], cwd=tmp_path, check=True, env=environment)
    assert run("./x", blocked_resources=["*.env"]).code == 3
    assert (tmp_path / "kept.env").exists()
    assert run("./x").code == 0
    assert not (tmp_path / "kept.env").exists()


def test_exit_codes(run: Run) -> None:
    assert run("true").code == 0
    assert run("sh", "-c", "exit 7").code == 7
    assert run("sh", "-c", "kill -15 $$").code == 143
    assert run("no-such-program").code == 127


def test_modes_follow_the_umask_of_the_program(run: Run, tmp_path: Path) -> None:
    run("sh", "-c", "umask 0; touch f; mkdir d; mkfifo p; umask 027; touch g; mkdir e")
    modes = {path.name: f"{path.stat().st_mode & 0o777:o}" for path in tmp_path.iterdir()}
    assert modes == {"f": "666", "d": "777", "p": "666", "g": "640", "e": "750"}


def test_names_mean_what_they_mean_to_the_program(run: Run, tmp_path: Path) -> None:
    """`/proc/self`, standard streams, relative names after `cd`, links: all resolved as the program's own."""
    script = (
        "mkdir -p sub; cd sub; echo in > here; ln -s here link; ln -s /proc/self/cwd round; exec 3< here;"
        "cat /proc/self/fd/3 link round/here /dev/fd/0 < here > ../out; readlink /proc/self/cwd >> ../out;"
        "cat /proc/self/comm >> ../out; echo x >> /dev/stdout 2> /dev/null >> ../out; : > /dev/null"
    )
    ran = run("sh", "-c", script)
    assert ran.code == 0
    assert (tmp_path / "out").read_text() == f"in\nin\nin\nin\n{tmp_path}/sub\ncat\nx\n"
    assert set(ran.decisions("file_read", str(tmp_path / "sub/here"))) == {"allow"}


_ERRORS = """
import errno, os
def failing(call, *arguments, **keywords):
    try: call(*arguments, **keywords)
    except OSError as e: return errno.errorcode[e.errno]
os.mkdir("d"); open("f", "w").close(); os.symlink("loop", "loop"); os.symlink("gone", "dangling")
found = [
    failing(os.open, "none", 0), failing(os.open, "f/x", 0), failing(os.open, "loop", 0), failing(os.open, "d", 1),
    failing(os.open, "f", os.O_CREAT | os.O_EXCL), failing(os.open, "f", os.O_DIRECTORY), failing(os.open, "f/", 0),
    failing(os.open, "dangling", os.O_NOFOLLOW), failing(os.open, "x" * 300, 0), failing(os.open, "dangling", 0),
    failing(os.unlink, "d"), failing(os.mkdir, "d"), failing(os.mkdir, "n/d"), failing(os.rename, "none", "g"),
    failing(os.link, "none", "g"), failing(os.link, "f", "f"), failing(os.symlink, "f", "d"), failing(os.rmdir, "d/."),
    failing(os.truncate, "none", 0), failing(os.chmod, "none", 0), failing(os.execv, "none", ["none"]),
    failing(os.execv, "f", ["f"]), failing(os.unlink, ""), failing(os.rmdir, "f"), failing(os.rmdir, "/"),
]
open("found", "w").write(" ".join(map(str, found)))
"""


def test_errors_are_those_of_the_kernel(python: Callable[..., Ran], tmp_path: Path) -> None:
    bare = tmp_path.parent / f"{tmp_path.name}-bare"
    bare.mkdir()
    subprocess.run([os.path.realpath(sys.executable), "-I", "-S", "-c", _ERRORS], cwd=bare, check=True)
    python(_ERRORS)
    assert (tmp_path / "found").read_text() == (bare / "found").read_text()


def test_a_link_swapped_all_the_time_never_opens_what_is_blocked(python: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("plain")
    (tmp_path / "secret.env").write_text("key")
    code = """
import os, threading, time
over = threading.Event()
def swap():
    while not over.is_set():
        for name in ("plain", "secret.env"):
            os.symlink(name, "new"); os.rename("new", "link")
os.symlink("plain", "link")
threading.Thread(target=swap).start()
read = set()
until = time.monotonic() + 2
while time.monotonic() < until:
    try: read.add(open("link").read())
    except OSError: read.add("denied")
over.set()
open("read", "w").write(repr(sorted(read)))
"""
    python(code, blocked_resources=["*.env"])
    assert (tmp_path / "read").read_text() == "['denied', 'plain']"


_ZEBRAS = Redaction(patterns={"zebra": "zebra-[0-9]+"})


def test_secrets_in_arguments_are_redacted_as_configured(run: Run) -> None:
    ran = run("sh", "-c", "true --x=zebra-1234; /bin/true --x=zebra-1234", redact=_ZEBRAS)
    seen = [value for _, _, value, _ in ran.publisher.messages]
    assert seen
    assert not any(b"zebra-1234" in value for value in seen)
