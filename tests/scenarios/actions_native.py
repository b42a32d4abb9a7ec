"""Ways that run in C: descriptors that others opened, mapped memory, files that extension modules open themselves."""

from __future__ import annotations

import faulthandler
import io
import mmap
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from scenarios.actions_sandbox import Sandbox, Way


def _host(flags: int) -> Callable[[Sandbox], None]:
    """The host opened the file before the agent began."""
    return lambda s: setattr(s, "fd", s.open_by_host(flags))


def _uses(name: str, act: Callable[[Sandbox], object], **more: Any) -> Way:
    return Way(
        name, act, lambda s: s.text() != "secret", "file_write", lambda s: s.path("data.txt"),
        prepare=_host(os.O_RDWR), **more,
    )  # fmt: skip


def _sees(name: str, act: Callable[[Sandbox], object], **more: Any) -> Way:
    def run(s: Sandbox) -> None:
        s.result = act(s)

    return Way(
        name, run, lambda s: "secret" in str(s.result), "file_read", lambda s: s.path("data.txt"),
        prepare=_host(os.O_RDONLY), **more,
    )  # fmt: skip


def _made(name: str, act: Callable[[Sandbox], object], target: str = "new", **more: Any) -> Way:
    return Way(name, act, lambda s: s.exists(target), "file_write", lambda s: s.path(target), **more)


def _map(s: Sandbox, access: int, text: bytes = b"") -> bytes:
    with mmap.mmap(s.fd, 6, access=access) as mapped:
        if text:
            mapped[: len(text)] = text
        return mapped[:6]


def _write_to(file: io.IOBase) -> None:
    file.write(b"x")  # type: ignore[attr-defined]
    file.flush()


def _spliced(s: Sandbox) -> str:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.sendfile(ours.fileno(), s.fd, 0, 6)
        return theirs.recv(10).decode()


def _copied(s: Sandbox) -> str:
    fd = os.open(s.path("copy"), os.O_RDWR | os.O_CREAT)
    try:
        os.copy_file_range(s.fd, fd, 6, 0)
        return os.pread(fd, 6, 0).decode()
    finally:
        os.close(fd)


def _read_into(read: Callable[[int, list[bytearray]], object], s: Sandbox) -> bytearray:
    buffer = bytearray(6)
    read(s.fd, [buffer])
    return buffer


def _over_standard_output(s: Sandbox) -> None:
    kept = os.dup(1)
    try:
        os.dup2(s.fd, 1)
        os.write(1, b"x")
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _spawn(s: Sandbox, *actions: tuple[Any, ...]) -> None:
    pid = os.posix_spawn("/bin/echo", ["echo", "x"], {}, file_actions=list(actions))
    os.waitpid(pid, 0)


def _creating(s: Sandbox) -> tuple[Any, ...]:
    return (os.POSIX_SPAWN_OPEN, 1, s.path("new"), os.O_CREAT | os.O_WRONLY, 0o600)


def _readline() -> Any:
    import readline

    return readline


def _history(s: Sandbox, method: str, *arguments: Any) -> None:
    readline = _readline()
    readline.clear_history()
    readline.add_history("line")
    getattr(readline, method)(*arguments)


def _read_history(s: Sandbox) -> str:
    readline = _readline()
    readline.clear_history()
    readline.add_history("first")
    readline.read_history_file(s.path("data.txt"))
    return str([readline.get_history_item(n) for n in range(1, readline.get_current_history_length() + 1)])


def _end_the_line(s: Sandbox) -> None:
    """What does not end in a line feed is no line of a history."""
    (s.root / "data.txt").write_text("secret\n")


def _segment(s: Sandbox) -> str:
    return f"vaultak-{s.root.parent.name}-{os.getpid()}"


def _share(s: Sandbox) -> None:
    import _posixshmem  # type: ignore[import-not-found]

    os.close(_posixshmem.shm_open("/" + _segment(s), os.O_CREAT | os.O_RDWR, 0o600))


def _share_by_class(s: Sandbox) -> None:
    from multiprocessing.shared_memory import SharedMemory

    SharedMemory(_segment(s), create=True, size=16).close()


def _unlink_shared(s: Sandbox) -> None:
    import _posixshmem

    _posixshmem.shm_unlink("/" + _segment(s))


def _shared_and_gone(s: Sandbox) -> bool:
    """Whether the segment is there; removes it."""
    path = f"/dev/shm/{_segment(s)}"
    if not os.path.exists(path):
        return False
    os.unlink(path)
    return True


def _shadow(s: Sandbox) -> None:
    import spwd

    s.result = spwd.getspnam("root")


def _moved_memory(s: Sandbox) -> None:
    import ctypes

    target = ctypes.create_string_buffer(b"before")
    s.result = target
    ctypes.memmove(target, b"after!", 6)


def _peeked(s: Sandbox) -> None:
    import ctypes

    s.result = ctypes.string_at(s.fd, 6)


def _in_memory(s: Sandbox) -> None:
    import ctypes

    buffer = ctypes.create_string_buffer(b"secret")
    s.keep(buffer)
    s.fd = ctypes.addressof(buffer)


_NICER = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)


def _niced(s: Sandbox) -> bool:
    return os.getpriority(os.PRIO_PROCESS, s.fd) == _NICER


def _host_processes(s: Sandbox) -> None:
    """A pool whose one process runs before the agent begins."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    pool.submit(os.getpid).result()
    s.keep(pool, pool.shutdown)


def _host_pool(s: Sandbox) -> None:
    pool = multiprocessing.get_context("fork").Pool(1)
    s.keep(pool, pool.terminate)


_SHM: dict[str, Any] = {"needs": ("_posixshmem.shm_open",), "outcome": True}

WAYS: tuple[Way, ...] = (
    _uses("mmap_host_fd", lambda s: _map(s, mmap.ACCESS_WRITE, b"x"), outcome=False),
    _uses("mmap_default_host_fd", lambda s: _map(s, mmap.ACCESS_DEFAULT, b"x"), outcome=False),
    _uses("fdopen_host_fd", lambda s: _write_to(os.fdopen(s.fd, "wb", closefd=False))),
    _uses("open_host_fd", lambda s: _write_to(open(s.fd, "r+b", buffering=0, closefd=False))),
    _uses("fileio_host_fd", lambda s: _write_to(io.FileIO(s.fd, "r+", closefd=False)), outcome=False),
    _uses("os_write_duplicate_of_host_fd", lambda s: os.write(os.dup(s.fd), b"x")),
    _uses("dup2_host_fd_over_standard_output", _over_standard_output),
    _uses("faulthandler_host_fd", lambda s: faulthandler.dump_traceback(file=s.fd)),
    _uses("posix_spawn_dup2_host_fd", lambda s: _spawn(s, (os.POSIX_SPAWN_DUP2, s.fd, 1))),
    _sees("os_read_host_fd", lambda s: os.read(s.fd, 6)),
    _sees("os_pread_host_fd", lambda s: os.pread(s.fd, 6, 0)),
    _sees("os_readv_host_fd", lambda s: _read_into(os.readv, s)),
    _sees("os_preadv_host_fd", lambda s: _read_into(lambda fd, into: os.preadv(fd, into, 0), s)),
    _sees("open_host_fd_read", lambda s: open(s.fd, "rb", closefd=False).read()),
    _sees("mmap_host_fd_read", lambda s: _map(s, mmap.ACCESS_READ), outcome=False),
    _sees("mmap_host_fd_copy", lambda s: _map(s, mmap.ACCESS_COPY), outcome=False),
    _sees("os_sendfile_from_host_fd", _spliced),
    _sees("os_copy_file_range_from_host_fd", _copied),
    _made("posix_spawn_opens", lambda s: _spawn(s, _creating(s))),
    _made("readline_write_history", lambda s: _history(s, "write_history_file", s.path("new")),
          needs=("readline.write_history_file",)),
    Way("readline_append_history", lambda s: _history(s, "append_history_file", 1, s.path("data.txt")),
        lambda s: s.text() != "secret", "file_write", lambda s: s.path("data.txt"),
        needs=("readline.append_history_file",)),
    Way("readline_read_history", lambda s: setattr(s, "result", _read_history(s)), lambda s: "secret" in str(s.result),
        "file_read", lambda s: s.path("data.txt"), prepare=_end_the_line,
        needs=("readline.read_history_file",)),
    Way("shm_open", _share, _shared_and_gone, "file_write", lambda s: f"/dev/shm/{_segment(s)}", **_SHM),
    Way("shared_memory", _share_by_class, _shared_and_gone, "file_write", lambda s: f"/dev/shm/{_segment(s)}",
        **_SHM),
    Way("shm_unlink", _unlink_shared, lambda s: not _shared_and_gone(s), "file_delete",
        lambda s: f"/dev/shm/{_segment(s)}", prepare=_share, **_SHM),
    Way("host_process_pool_submit", lambda s: s.kept.submit(os.mkdir, s.path("new")).result(),
        lambda s: s.exists("new"), "code_execution", lambda s: "code:posix.mkdir", prepare=_host_processes),
    Way("host_process_pool_apply", lambda s: s.kept.apply(os.mkdir, (s.path("new"),)),
        lambda s: s.exists("new"), "code_execution", lambda s: "code:posix.mkdir", prepare=_host_pool),
    Way("host_process_pool_map", lambda s: s.kept.map(os.mkdir, [s.path("new")]),
        lambda s: s.exists("new"), "code_execution", lambda s: "code:posix.mkdir", prepare=_host_pool),
    Way("shadow_password", _shadow, lambda s: s.result is not None, "file_read", lambda s: "/etc/shadow",
        needs=("root", "spwd.getspnam")),
    Way("ctypes_memmove", _moved_memory, lambda s: s.result is not None and s.result.value == b"after!",
        "code_execution", lambda s: "native:memory", outcome=True, repeats=True),
    Way("ctypes_string_at", _peeked, lambda s: s.result == b"secret", "code_execution", lambda s: "native:memory",
        prepare=_in_memory, outcome=False, repeats=True),
    Way("os_setpriority", lambda s: os.setpriority(os.PRIO_PROCESS, s.fd, _NICER), _niced, "permission_change",
        lambda s: f"process:pid:{os.getpid()}", prepare=lambda s: setattr(s, "fd", s.child())),
    Way("raise_signal", lambda s: signal.raise_signal(signal.SIGURG), lambda s: bool(s.result), "process_spawn",
        lambda s: f"process:pid:{os.getpid()}",
        prepare=lambda s: signal.signal(signal.SIGURG, lambda *_: setattr(s, "result", True))),
)  # fmt: skip
