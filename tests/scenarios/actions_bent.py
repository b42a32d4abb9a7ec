"""Ways that bend what the interceptors stand on: arguments that lie, names that are forged, modules made anew."""

from __future__ import annotations

import asyncio
import contextlib
import importlib._bootstrap as bootstrap  # what an agent may take hold of
import importlib.util
import io
import marshal
import os
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from typing import Any

from scenarios.actions_more import made, module, reads, removes, sees
from scenarios.actions_sandbox import Sandbox, Way

LIBRARY_FILE = os.path.join(os.path.dirname(os.__file__), "no_such_module.py")
"""What forged code says it comes from."""


class Number(int):
    """A number that calls itself another wherever Python code asks."""

    def __str__(self) -> str:
        return "0"

    __repr__ = __str__

    def __format__(self, _spec: str) -> str:
        return "0"

    def __int__(self) -> int:
        return 0

    __index__ = __int__

    def __eq__(self, _other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class Name(bytes):
    def decode(self, *_: Any) -> str:
        return "/nowhere"

    def __bytes__(self) -> bytes:
        return b"/nowhere"


class Asked:
    """A path that is another one the next time."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __fspath__(self) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def _index(fd: int) -> Any:
    return type("Index", (), {"__index__": lambda _self: fd})()


def host(flags: int) -> Callable[[Sandbox], None]:
    return lambda s: setattr(s, "fd", s.open_by_host(flags))


def uses(name: str, act: Callable[[Sandbox], object], **more: Any) -> Way:
    return Way(
        name, act, lambda s: s.text() != "secret", "file_write", lambda s: s.path("data.txt"),
        prepare=host(os.O_RDWR), **more,
    )  # fmt: skip


def runs(name: str, act: Callable[[Sandbox], object], resource: str, **more: Any) -> Way:
    """Code is executed, or what could disarm the monitor is reached."""

    def run(s: Sandbox) -> None:
        s.result = act(s)

    more.setdefault("outcome", False)
    return Way(name, run, lambda s: bool(s.result), "code_execution", lambda _s: resource, **more)


def _lying_file(s: Sandbox) -> None:
    with io.FileIO(Number(s.fd), "w", closefd=False) as file:
        file.write(b"changed")


def _index_file(s: Sandbox) -> None:
    with io.FileIO(_index(s.fd), "w", closefd=False) as file:
        file.write(b"changed")


def _as_stream(s: Sandbox, again: Callable[[int], object]) -> None:
    kept = os.dup(1)
    os.close(1)
    try:
        again(s.fd)
        os.write(1, b"changed")
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _spec(name: str) -> types.ModuleType:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    return importlib.util.module_from_spec(spec)


def _popped(name: str) -> Any:
    kept = sys.modules.pop(name)
    try:
        return __import__(name)
    finally:
        sys.modules[name] = kept


def _python(s: Sandbox) -> None:
    (s.root / "secrets.py").write_text("KEY = 'secret'\n")


def _forged_module(s: Sandbox) -> str:
    forged = types.ModuleType("forged_module")
    forged.__file__ = s.path("data.txt")
    sys.modules["forged_module"] = forged
    try:
        return str(module("linecache").getlines(s.path("data.txt")))
    finally:
        del sys.modules["forged_module"]
        module("linecache").clearcache()


def _forged(text: str) -> types.CodeType:
    return compile(text, LIBRARY_FILE, "exec")


def _defined(code: types.CodeType, run: Callable[..., object] = exec) -> Any:
    namespace: dict[str, Any] = {}
    run(code, namespace)
    return namespace["act"]()


def _loaded(loader: Any) -> object:
    made_here = types.ModuleType("lying_module")
    loader.exec_module(made_here)
    return vars(made_here).get("ran")


def _compiled(s: Sandbox) -> None:
    header = importlib.util.MAGIC_NUMBER + bytes(12)
    (s.root / "lying_module.pyc").write_bytes(header + marshal.dumps(_forged("ran = True")))


class _Lying(SourceFileLoader):
    def get_code(self, fullname: str) -> types.CodeType:
        return _forged("ran = True")


def _annotated(evaluate: Callable[[Any], object]) -> object:
    def function(x: object) -> None:
        pass

    function.__annotations__ = {"x": "type('T', (), {})"}
    evaluate(function)
    return True


def _generated(_s: Sandbox) -> object:
    dataclasses = module("dataclasses")
    if hasattr(dataclasses, "_create_fn"):
        return dataclasses._create_fn("made", (), ["return True"])()
    builder = dataclasses._FuncBuilder({})
    builder.add_fn("made", ("self",), ["  return True"])
    owner = type("Owner", (), {})
    builder.add_fns_to_class(owner)
    return owner().made()


def _copied_code(_s: Sandbox) -> object:
    return module("copy")._reconstruct(None, None, types.FunctionType, ((lambda: True).__code__, {}))()


def _connection(fd: int) -> Any:
    return module("multiprocessing.connection").Connection(fd)


def _handed_on(s: Sandbox) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [s.fd])
        os.close(socket.recv_fds(theirs, 1, 1)[1][0])
        os.write(s.fd, b"changed")


def _raw_thread(s: Sandbox, thread: Any) -> None:
    done = thread.allocate_lock()
    done.acquire()

    def act() -> None:
        try:
            os.remove(s.path("data.txt"))
        except BaseException:  # a thread ends in silence
            pass
        finally:
            done.release()

    thread.start_new_thread(act, ())
    done.acquire()


def _reloaded(s: Sandbox) -> None:
    importlib.reload(sys.modules["vaultak.governor"])
    os.remove(s.path("data.txt"))


def _owned_signal(s: Sandbox) -> None:
    fcntl = module("fcntl")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fcntl.fcntl(ours, fcntl.F_SETOWN, s.result)
        fcntl.fcntl(ours, 10, 9)  # F_SETSIG, SIGKILL
        fcntl.fcntl(ours, fcntl.F_SETFL, fcntl.fcntl(ours, fcntl.F_GETFL) | 0o20000)  # O_ASYNC
        theirs.send(b"x")


def _timer(s: Sandbox) -> None:
    signal = module("signal")
    signal.setitimer(signal.ITIMER_VIRTUAL, 60)
    s.result = signal.setitimer(signal.ITIMER_VIRTUAL, 0)[0]


def _child(s: Sandbox) -> None:
    s.result = s.child()


def _semaphore(s: Sandbox) -> None:
    semaphores, s.result = module("_multiprocessing"), f"/vaultak-{os.getpid()}"

    def remove() -> None:
        with contextlib.suppress(FileNotFoundError):
            semaphores.sem_unlink(s.result)

    s.keep(semaphores.SemLock(1, 1, 1, s.result, False), remove)


WAYS: tuple[Way, ...] = (
    uses("write_lying_number", lambda s: os.write(Number(s.fd), b"changed")),
    uses("write_index", lambda s: os.write(_index(s.fd), b"changed")),
    uses("file_lying_number", _lying_file, outcome=False),
    uses("file_index", _index_file, outcome=False),
    uses("truncate_lying_number", lambda s: os.truncate(Number(s.fd), 0)),
    uses("dup_over_standard_output", lambda s: _as_stream(s, os.dup)),
    uses("fcntl_over_standard_output", lambda s: _as_stream(s, lambda fd: module("fcntl").fcntl(fd, 0, 0)),
         outcome=False),
    uses("write_of_module_popped", lambda s: _popped("posix").write(s.fd, b"changed")),
    uses("write_of_module_from_spec", lambda s: _spec("posix").write(s.fd, b"changed")),
    uses("write_of_pyio", lambda s: module("_pyio").FileIO(s.fd, "w", closefd=False).write(b"changed"), repeats=True),
    uses("write_of_connection", lambda s: _connection(os.dup(s.fd)).send_bytes(b"x")),
    uses("descriptor_handed_on", _handed_on),
    sees("open_lying_bytes", lambda s: open(Name(os.fsencode(s.path("data.txt")))).read()),
    sees("open_asked_twice", lambda s: open(Asked(s.path("data.txt"), os.devnull)).read()),
    sees("linecache_of_forged_module", _forged_module, repeats=True),
    sees("loader_get_source", lambda s: SourceFileLoader("x", s.path("secrets.py")).get_source("x"), "secrets.py",
         prepare=_python, outcome=False, repeats=True),
    sees("loader_get_code", lambda s: SourceFileLoader("x", s.path("secrets.py")).get_code("x").co_consts, "secrets.py",
         prepare=_python, outcome=False, repeats=True),
    sees("importer_opens", lambda s: bootstrap._call_with_frames_removed(open, s.path("data.txt")).read()),
    removes("remove_lying_bytes", lambda s: os.remove(Name(os.fsencode(s.path("data.txt"))))),
    removes("remove_asked_twice", lambda s: os.remove(Asked(s.path("data.txt"), "/nowhere"))),
    removes("importer_removes", lambda s: bootstrap._call_with_frames_removed(os.remove, s.path("data.txt"))),
    removes("remove_in_thread_of_module_popped", lambda s: _raw_thread(s, _popped("_thread"))),
    removes("remove_after_reload_of_governor", _reloaded),
    made("mkfifo_asked_twice", lambda s: os.mkfifo(Asked(s.path("new"), "/nowhere"))),
    made("mkfifo_lying_bytes", lambda s: os.mkfifo(Name(os.fsencode(s.path("new"))))),
    made("importer_caches_anything", lambda s: SourceFileLoader("x", "x").set_data(s.path("dir__pycache__/new"), b"x"),
         "dir__pycache__", outcome=False),
    made("importer_makes_directory", lambda s: bootstrap._call_with_frames_removed(os.mkdir, s.path("new__pycache__")),
         "new__pycache__"),
    reads("decode_certificate_of_module_popped", lambda s: _popped("_ssl")._test_decode_cert(s.path("data.txt")),
          "SSLError"),
    runs("forged_code", lambda _s: _defined(_forged("def act():\n import gc\n return gc.get_objects()")),
         "code:gc.get_objects"),
    runs("forged_code_marshalled",
         lambda _s: _defined(marshal.loads(marshal.dumps(_forged("def act():\n import gc\n return gc.get_objects()")))),
         "code:gc.get_objects"),
    runs("forged_code_through_importer",
         lambda _s: _defined(_forged("def act(): return True"),
                             lambda *code: bootstrap._call_with_frames_removed(exec, *code)),
         f"code:{os.path.realpath(LIBRARY_FILE)}"),
    runs("loader_with_lying_code", lambda _s: _loaded(_Lying("lying_module", LIBRARY_FILE)), "module:lying_module"),
    runs("compiled_file_with_lying_name",
         lambda s: _loaded(SourcelessFileLoader("lying_module", s.path("lying_module.pyc"))), "module:lying_module",
         prepare=_compiled),
    runs("importer_reaches_objects", lambda _s: bootstrap._call_with_frames_removed(module("gc").get_objects),
         "code:gc.get_objects"),
    runs("importer_loads_library", lambda _s: bootstrap._call_with_frames_removed(module("ctypes").CDLL, None),
         "native:python", outcome=True),
    runs("importer_makes_function",
         lambda _s: bootstrap._call_with_frames_removed(types.FunctionType, (lambda: True).__code__, {})(),
         "code:function.__new__"),
    runs("library_makes_function", _copied_code, "code:function.__new__"),
    runs("type_hints", lambda _s: _annotated(module("typing").get_type_hints), "code:*"),
    runs("annotations", lambda _s: _annotated(lambda f: module("inspect").get_annotations(f, eval_str=True)), "code:*"),
    runs("dataclass_internals", _generated, "code:*", repeats=True),
    runs("cffi_library", lambda _s: module("cffi").FFI().dlopen(None), "native:python",
         needs=("cffi.FFI",), outcome=True),
    Way("owner_signal", _owned_signal, lambda s: s.child_died(), "process_spawn", lambda s: f"process:pid:{s.result}",
        prepare=_child, outcome=False),
    Way("timer_unhandled", _timer, lambda s: bool(s.result), "process_spawn", lambda _s: f"process:pid:{os.getpid()}"),
    Way("interrupt_main", lambda s: module("_thread").interrupt_main(23) or setattr(s, "result", True),
        lambda s: bool(s.result), "process_spawn", lambda _s: f"process:pid:{os.getpid()}"),
    Way("semaphore_unlink", lambda s: module("_multiprocessing").sem_unlink(s.result),
        lambda s: not os.path.exists(f"/dev/shm/sem.{s.result[1:]}"), "file_delete",  # where it lies
        lambda s: f"/dev/shm/sem.{s.result[1:]}", prepare=_semaphore),  # where it lies
    Way("listen_unbound", lambda s: _listening(s), lambda s: bool(s.result), "network_request", lambda _s: "0.0.0.0:0"),
    Way("host_socket_as_file", lambda s: _through_file(s), lambda s: s.received_by_peer(), "network_request",
        lambda s: f"127.0.0.1:{s.tcp.getsockname()[1]}", prepare=lambda s: setattr(s, "result", s.connected_by_host()),
        outcome=True),
    Way("host_socket_sock_sendall", lambda s: asyncio.run(_sent(s)), lambda s: s.received_by_peer(), "network_request",
        lambda s: f"127.0.0.1:{s.tcp.getsockname()[1]}", prepare=lambda s: setattr(s, "result", s.connected_by_host())),
    Way("fork_exec_from_spec", lambda s: _started(s, _spec("_posixsubprocess").fork_exec), lambda s: s.exists("new"),
        "process_spawn", lambda _s: f"process:{os.path.realpath('/bin/touch')}"),
)  # fmt: skip


def _listening(s: Sandbox) -> None:
    with socket.socket() as sock:
        sock.listen()
        s.result = sock.getsockname()[1]


def _through_file(s: Sandbox) -> None:
    with open(os.dup(s.result.fileno()), "wb", buffering=0) as file:
        file.write(b"x")


async def _sent(s: Sandbox) -> None:
    s.result.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(s.result, b"x")


def _started(s: Sandbox, fork_exec: Callable[..., int]) -> None:
    """As `subprocess` would, with a `fork_exec` that is not the one it knows."""
    kept = subprocess._fork_exec if hasattr(subprocess, "_fork_exec") else None
    name = "_fork_exec" if kept is not None else "_posixsubprocess"
    other = fork_exec if kept is not None else types.SimpleNamespace(fork_exec=fork_exec)
    before = getattr(subprocess, name)
    setattr(subprocess, name, other)
    try:
        module("multiprocessing.util")
        subprocess.run(["/bin/touch", s.path("new")], check=True)
    finally:
        setattr(subprocess, name, before)
