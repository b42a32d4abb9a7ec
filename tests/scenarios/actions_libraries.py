"""Ways through installed libraries, and through whatever calls the agent back later or elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from scenarios.actions_more import made, module, reads, removes, sees
from scenarios.actions_sandbox import Sandbox, Way


def connects(name: str, act: Callable[[Sandbox, int], object], **more: Any) -> Way:
    """Reaches the listening socket, where nobody answers."""

    def run(s: Sandbox) -> None:
        try:
            act(s, s.tcp.getsockname()[1])
        except Exception as e:
            if "imed out" not in f"{type(e).__name__} {e}" and "Timeout" not in type(e).__name__:
                raise

    return Way(
        name, run, lambda s: s.accepted(), "network_request", lambda s: f"127.0.0.1:{s.tcp.getsockname()[1]}", **more
    )


def starts(name: str, act: Callable[[Sandbox, list[str]], object], program: str = "/bin/touch", **more: Any) -> Way:
    return Way(
        name, lambda s: act(s, ["/bin/touch", s.path("new")]), lambda s: s.exists("new"), "process_spawn",
        lambda _s: f"process:{os.path.realpath(os.path.dirname(program))}/{os.path.basename(program)}", **more,
    )  # fmt: skip


def called_back(name: str, arrange: Callable[[Callable[[], object]], object], **more: Any) -> Way:
    return removes(f"remove_in_{name}", lambda s: arrange(lambda: os.remove(s.path("data.txt"))), **more)


def _quietly(function: Callable[[], object]) -> Callable[..., None]:
    """For places that would print what a callback raises."""

    def call(*_: object) -> None:
        with contextlib.suppress(Exception):
            function()

    return call


def _weak(remove: Callable[[], object]) -> None:
    class Thing:
        pass

    thing = Thing()
    kept = module("weakref").ref(thing, _quietly(remove))
    del thing, kept


def _collected(remove: Callable[[], object]) -> None:
    gc = module("gc")
    gc.callbacks.append(callback := _quietly(remove))
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)


def _unraisable(remove: Callable[[], object]) -> None:
    class Thing:
        def __del__(self) -> None:
            raise ValueError

    before, sys.unraisablehook = sys.unraisablehook, _quietly(remove)
    try:
        Thing()
    finally:
        sys.unraisablehook = before


def _excepthook(remove: Callable[[], object]) -> None:
    before, threading.excepthook = threading.excepthook, _quietly(remove)
    try:
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    finally:
        threading.excepthook = before


def _timed(remove: Callable[[], object]) -> None:
    signal = module("signal")
    done: list[int] = []

    def handler(*_: object) -> None:
        done.append(1)
        _quietly(remove)()

    before = signal.signal(signal.SIGVTALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.001)
        deadline = time.monotonic() + 5
        while not done and time.monotonic() < deadline:
            pass
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _codec(remove: Callable[[], object]) -> None:
    codecs = module("codecs")

    def search(name: str) -> None:
        if name == "no_such_codec":
            remove()

    codecs.register(search)
    try:
        b"x".decode("no-such-codec")
    except LookupError:
        pass
    finally:
        codecs.unregister(search)


def _finder(remove: Callable[[], object]) -> None:
    class Finder:
        @staticmethod
        def find_spec(*_: object) -> None:
            remove()

    sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]
    try:
        __import__("no_such_module")
    except ImportError:
        pass
    finally:
        sys.meta_path.remove(Finder)  # type: ignore[arg-type]


def _scheduled(remove: Callable[[], object]) -> None:
    schedule = module("sched").scheduler()
    schedule.enter(0, 0, remove)
    schedule.run()


def _loop_thread(remove: Callable[[], object]) -> None:
    async def main() -> None:
        contextvars.Context().run(_quietly(remove))

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()


def _task(remove: Callable[[], object]) -> None:
    async def work() -> None:
        remove()

    async def main() -> None:
        await asyncio.get_running_loop().create_task(work(), context=contextvars.Context())

    asyncio.run(main())


def _reduced(s: Sandbox) -> None:
    module("pickle").loads(b"cposix\nmkdir\n(V" + os.fsencode(s.path("new")) + b"\ntR.")


def _unsafe_yaml(s: Sandbox) -> None:
    module("yaml").unsafe_load(f"!!python/object/apply:os.mkdir ['{s.path('new')}']")


def _factory(s: Sandbox) -> None:
    handlers = {"x": {"()": "os.mkdir", "path": s.path("new")}}
    try:
        module("logging.config").dictConfig({"version": 1, "disable_existing_loggers": False, "handlers": handlers})
    except ValueError as e:
        if s.exists("new"):
            return  # what `mkdir` returns is no handler
        raise PermissionError("refused") from e


def _sqlite_function(s: Sandbox) -> None:
    connection = module("sqlite3").connect(":memory:")
    connection.create_function("act", 1, os.mkdir)
    try:
        connection.execute("select act(?)", (s.path("new"),)).fetchone()
    except module("sqlite3").OperationalError as e:
        raise PermissionError("refused") from e
    finally:
        connection.close()


def _doctest(s: Sandbox) -> None:
    doctest = module("doctest")
    text = f">>> __import__('os').mkdir({s.path('new')!r})"
    test = doctest.DocTestParser().get_doctest(text, {}, "x", "x", 0)
    doctest.DocTestRunner(verbose=False).run(test, out=lambda _text: None)


def _pandas(s: Sandbox) -> Any:
    return module("pandas").DataFrame({"a": [1]})


def _map(s: Sandbox) -> None:
    mapped = module("numpy").memmap(s.path("new"), dtype="u1", mode="w+", shape=(4,))
    mapped[:] = 1
    mapped.flush()


async def _anyio_text(s: Sandbox) -> str:
    return str(await module("anyio").Path(s.path("data.txt")).read_text())


def _logged(s: Sandbox, handler: str, *arguments: Any) -> None:
    made_handler = getattr(module("logging.handlers"), handler)(*arguments)
    made_handler.handleError = lambda _record: None
    try:
        made_handler.emit(module("logging").makeLogRecord({"msg": "x", "levelno": 40}))
    finally:
        made_handler.close()


def _library(name: str, function: str) -> tuple[str, ...]:
    return (f"{name}.{function}",)


NUMPY, PANDAS = _library("numpy", "memmap"), _library("pandas", "DataFrame")

WAYS: tuple[Way, ...] = (
    made("numpy_save", lambda s: module("numpy").save(s.path("new.npy"), [1]), "new.npy", needs=NUMPY),
    made("numpy_tofile", lambda s: module("numpy").zeros(1).tofile(s.path("new")), needs=NUMPY),
    made("numpy_dump", lambda s: module("numpy").zeros(1).dump(s.path("new")), needs=NUMPY),
    made("numpy_savetxt", lambda s: module("numpy").savetxt(s.path("new"), [1]), needs=NUMPY, repeats=True),
    made("numpy_memmap", _map, needs=NUMPY, repeats=True),
    sees("numpy_fromfile", lambda s: module("numpy").fromfile(s.path("data.txt"), dtype="S6"), needs=NUMPY),
    sees("numpy_loadtxt", lambda s: module("numpy").loadtxt(s.path("data.txt"), dtype=str), needs=NUMPY, repeats=True),
    made("scipy_wave", lambda s: module("scipy.io.wavfile").write(s.path("new"), 8000, module("numpy").zeros(3)),
         needs=_library("scipy", "version")),
    sees("pandas_read_csv", lambda s: module("pandas").read_csv(s.path("data.txt")), needs=PANDAS),
    sees("pandas_read_csv_mapped", lambda s: module("pandas").read_csv(s.path("data.txt"), memory_map=True),
         needs=PANDAS, repeats=True),
    made("pandas_to_csv", lambda s: _pandas(s).to_csv(s.path("new")), needs=PANDAS),
    made("pandas_to_pickle", lambda s: _pandas(s).to_pickle(s.path("new")), needs=PANDAS),
    made("pandas_to_json", lambda s: _pandas(s).to_json(s.path("new")), needs=PANDAS),
    made("pandas_to_stata", lambda s: _pandas(s).to_stata(s.path("new")), needs=PANDAS),
    made("joblib_dump", lambda s: module("joblib").dump([1], s.path("new")), needs=_library("joblib", "dump")),
    made("lz4_open", lambda s: module("lz4.frame").open(s.path("new"), "wb").close(), needs=_library("lz4", "VERSION")),
    made("yaml_object", _unsafe_yaml, needs=_library("yaml", "unsafe_load")),
    made("pickle_reduced", _reduced),
    made("logging_factory", _factory),
    made("sqlite_function", _sqlite_function),
    made("doctest_example", _doctest),
    made("trace_function", lambda s: module("trace").Trace(count=0, trace=0).runfunc(os.mkdir, s.path("new"))),
    made("debugger_run", lambda s: module("bdb").Bdb().runcall(os.mkdir, s.path("new"))),
    made("sorted_key", lambda s: sorted([s.path("new")], key=os.mkdir)),  # type: ignore[arg-type,return-value]
    sees("anyio_path", lambda s: module("anyio").run(_anyio_text, s), needs=_library("anyio", "Path")),
    reads("yaml_load", lambda s: module("yaml").safe_load(open(s.path("data.txt"))),
          needs=_library("yaml", "safe_load")),
    starts("webbrowser", lambda s, argv: module("webbrowser").GenericBrowser([argv[0], "%s"]).open(argv[1])),
    starts("pydoc_pager", lambda s, argv: module("pydoc").pipepager("x", " ".join(argv)), "/bin/sh"),
    starts("uuid_command", lambda s, argv: module("uuid")._get_command_stdout("touch", argv[1])),
    starts("multiprocessing_spawnv",
           lambda s, argv: os.waitpid(module("multiprocessing.util").spawnv_passfds(argv[0].encode(), argv, ()), 0)),
    connects("poplib", lambda s, port: module("poplib").POP3("127.0.0.1", port, timeout=0.2)),
    connects("imaplib", lambda s, port: module("imaplib").IMAP4("127.0.0.1", port, timeout=0.2)),
    connects("https_connection",
             lambda s, port: module("http.client").HTTPSConnection("127.0.0.1", port, timeout=0.2).connect()),
    connects("server_certificate",
             lambda s, port: module("ssl").get_server_certificate(("127.0.0.1", port), timeout=0.2)),
    connects("logging_socket", lambda s, port: _logged(s, "SocketHandler", "127.0.0.1", port)),
    connects("anyio_connect", lambda s, port: module("anyio").run(_anyio_connect, port),
             needs=_library("anyio", "connect_tcp")),
    connects("asyncio_protocol", lambda s, port: asyncio.run(_protocol(port))),
    called_back("weak_reference", _weak),
    called_back("collection", _collected, repeats=True),
    called_back("unraisable_hook", _unraisable),
    called_back("thread_excepthook", _excepthook),
    called_back("timer_signal", _timed),
    called_back("codec_search", _codec),
    called_back("import_finder", _finder),
    called_back("scheduler", _scheduled),
    called_back("loop_of_another_thread", _loop_thread),
    called_back("task_in_fresh_context", _task),
)  # fmt: skip


async def _anyio_connect(port: int) -> None:
    try:
        async with await module("anyio").connect_tcp("127.0.0.1", port):
            pass
    except ExceptionGroup as e:
        raise e.exceptions[0] from e


async def _protocol(port: int) -> None:
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)
    transport.close()
