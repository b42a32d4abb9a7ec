"""Ways to start, replace, fork and signal processes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import posix
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from scenarios.actions_sandbox import Sandbox, Way

TOUCH = shutil.which("touch") or "/usr/bin/touch"
ENV = dict(os.environ)


def _program(path: str) -> str:
    return "process:" + os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _starts(name: str, act: Callable[[Sandbox], object], program: str = TOUCH, **more: Any) -> Way:
    return Way(name, act, lambda s: s.exists("new"), "process_spawn", lambda s: _program(program), **more)


def _signals(name: str, act: Callable[[int], object], **more: Any) -> Way:
    def run(s: Sandbox) -> None:
        act(s.fd)

    return Way(
        name,
        run,
        lambda s: s.child_died(),
        "process_spawn",
        lambda s: f"process:pid:{s.fd}",
        prepare=lambda s: setattr(s, "fd", s.child()),
        **more,
    )


def _wait(pid: int) -> None:
    os.waitpid(pid, 0)


def _in_child(act: Callable[[], object]) -> None:
    """Run in a fork made for it, whose end is waited for."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(3)
    _wait(pid)


def _fork(s: Sandbox) -> None:
    pid = os.fork()
    if pid == 0:
        os.close(os.open(s.path("new"), os.O_CREAT | os.O_WRONLY))
        os._exit(0)
    _wait(pid)


def _forkpty(s: Sandbox) -> None:
    pid, fd = pty.fork()
    if pid == 0:
        os.close(os.open(s.path("new"), os.O_CREAT | os.O_WRONLY))
        os._exit(0)
    _wait(pid)
    os.close(fd)


async def _asyncio_exec(s: Sandbox) -> None:
    process = await asyncio.create_subprocess_exec(TOUCH, s.path("new"))
    await process.wait()


async def _asyncio_shell(s: Sandbox) -> None:
    process = await asyncio.create_subprocess_shell(f"touch {s.path('new')}")
    await process.wait()


def _multiprocessing(method: str) -> Callable[[Sandbox], object]:
    def run(s: Sandbox) -> None:
        process = multiprocessing.get_context(method).Process(target=os.mkdir, args=(s.path("new"),))
        process.start()
        process.join()

    return run


def _process_pool(s: Sandbox) -> None:
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(os.mkdir, s.path("new")).result()


def _raw_fork_exec(s: Sandbox) -> None:
    read, write = os.pipe()
    arguments = [[TOUCH.encode(), s.path("new").encode()], (TOUCH.encode(),), True, (write,), None, None]
    arguments += [-1, -1, -1, -1, -1, -1, read, write, True, False]
    arguments += [-1, None, None, None, -1, None]
    if sys.version_info < (3, 14):
        arguments.append(True)
    import _posixsubprocess

    try:
        _wait(_posixsubprocess.fork_exec(*arguments))
    finally:
        os.close(read)
        os.close(write)


WAYS: tuple[Way, ...] = (
    _starts("subprocess_run", lambda s: subprocess.run([TOUCH, s.path("new")])),
    _starts("subprocess_run_by_name", lambda s: subprocess.run(["touch", s.path("new")])),
    _starts("subprocess_call", lambda s: subprocess.call([TOUCH, s.path("new")])),
    _starts("subprocess_check_call", lambda s: subprocess.check_call([TOUCH, s.path("new")])),
    _starts("subprocess_check_output", lambda s: subprocess.check_output([TOUCH, s.path("new")])),
    _starts("subprocess_popen", lambda s: subprocess.Popen([TOUCH, s.path("new")]).wait()),
    _starts("subprocess_in_directory", lambda s: subprocess.run([TOUCH, "new"], cwd=s.root)),
    _starts("subprocess_bytes", lambda s: subprocess.run([TOUCH.encode(), s.path("new").encode()])),
    _starts("subprocess_posix_spawn", lambda s: subprocess.run([TOUCH, s.path("new")], close_fds=False)),
    _starts("subprocess_shell", lambda s: subprocess.run(f"touch {s.path('new')}", shell=True), "/bin/sh"),
    _starts("subprocess_getoutput", lambda s: subprocess.getoutput(f"touch {s.path('new')}"), "/bin/sh"),
    _starts("subprocess_executable", lambda s: subprocess.run(["ls", s.path("new")], executable=TOUCH)),
    _starts("subprocess_popen_subclass",
            lambda s: type("P", (subprocess.Popen,), {})([TOUCH, s.path("new")]).wait()),
    Way("subprocess_through_alias", lambda s: subprocess.run([s.path("alias"), s.path("new")]),
        lambda s: s.exists("new"), "process_spawn", lambda s: "process:" + os.path.realpath(TOUCH),
        prepare=lambda s: os.symlink(TOUCH, s.path("alias"))),
    _starts("os_system", lambda s: os.system(f"touch {s.path('new')}"), "/bin/sh"),
    _starts("posix_system", lambda s: posix.system(f"touch {s.path('new')}"), "/bin/sh"),
    _starts("os_system_original", lambda s: os.system.__wrapped__(f"touch {s.path('new')}"), "/bin/sh", outcome=False),
    _starts("os_popen", lambda s: os.popen(f"touch {s.path('new')}").close(), "/bin/sh"),
    _starts("os_spawnv", lambda s: os.spawnv(os.P_WAIT, TOUCH, ["touch", s.path("new")])),
    _starts("os_spawnve", lambda s: os.spawnve(os.P_WAIT, TOUCH, ["touch", s.path("new")], ENV)),
    _starts("os_spawnvp", lambda s: os.spawnvp(os.P_WAIT, "touch", ["touch", s.path("new")])),
    _starts("os_spawnl", lambda s: os.spawnl(os.P_WAIT, TOUCH, "touch", s.path("new"))),
    _starts("os_spawnlp", lambda s: os.spawnlp(os.P_WAIT, "touch", "touch", s.path("new"))),
    _starts("os_spawnlpe", lambda s: os.spawnlpe(os.P_WAIT, "touch", "touch", s.path("new"), ENV)),
    _starts("os_spawn_nowait", lambda s: _wait(os.spawnv(os.P_NOWAIT, TOUCH, ["touch", s.path("new")]))),
    _starts("os_posix_spawn", lambda s: _wait(os.posix_spawn(TOUCH, ["touch", s.path("new")], ENV))),
    _starts("os_posix_spawnp", lambda s: _wait(os.posix_spawnp("touch", ["touch", s.path("new")], ENV))),
    _starts("os_execv_in_fork", lambda s: _in_child(lambda: os.execv(TOUCH, ["touch", s.path("new")])), outcome=False),
    _starts("os_execvp_in_fork", lambda s: _in_child(lambda: os.execvp("touch", ["touch", s.path("new")])),
            outcome=False),
    _starts("os_execle_in_fork", lambda s: _in_child(lambda: os.execle(TOUCH, "touch", s.path("new"), ENV)),
            outcome=False),
    _starts("os_fork", _fork, sys.executable),
    _starts("pty_fork", _forkpty, sys.executable),
    _starts("pty_spawn", lambda s: pty.spawn([TOUCH, s.path("new")], lambda _fd: b""), sys.executable),
    _starts("asyncio_exec", lambda s: asyncio.run(_asyncio_exec(s))),
    _starts("asyncio_shell", lambda s: asyncio.run(_asyncio_shell(s)), "/bin/sh"),
    _starts("multiprocessing_fork", _multiprocessing("fork"), sys.executable),
    _starts("multiprocessing_spawn", _multiprocessing("spawn"), sys.executable, repeats=True),
    _starts("process_pool", _process_pool, sys.executable),
    _starts("posixsubprocess_fork_exec", _raw_fork_exec),
    _signals("os_kill", lambda pid: os.kill(pid, signal.SIGKILL)),
    _signals("os_kill_term", lambda pid: os.kill(pid, signal.SIGTERM)),
    _signals("posix_kill", lambda pid: posix.kill(pid, signal.SIGKILL)),
    _signals("os_kill_original", lambda pid: os.kill.__wrapped__(pid, signal.SIGKILL), outcome=False),
    _signals("pidfd_send_signal", lambda pid: signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL),
             needs=("os.pidfd_open",)),
    Way("os_killpg", lambda s: os.killpg(s.fd, signal.SIGKILL), lambda s: s.child_died(), "process_spawn",
        lambda s: f"process:pid:-{s.fd}", prepare=lambda s: setattr(s, "fd", s.child())),
)  # fmt: skip
