"""Ways to run code, load libraries, change the process's own settings, and act from other threads and contexts."""

from __future__ import annotations

import _thread
import asyncio
import builtins
import code
import concurrent.futures
import contextvars
import ctypes
import functools
import importlib
import importlib.util
import multiprocessing.pool
import os
import resource
import runpy
import sys
import threading
import timeit
import types
from collections.abc import Callable
from typing import Any

from scenarios.actions_sandbox import Sandbox, Way

MARK = "import builtins; builtins.sandbox_ran = True"
_CODE = compile(MARK, "<agent>", "exec")


def _ran(_s: Sandbox) -> bool:
    return bool(builtins.__dict__.pop("sandbox_ran", False))


def _runs(name: str, act: Callable[[Sandbox], object], expected: str = "code:*", **more: Any) -> Way:
    return Way(name, act, _ran, "code_execution", lambda s: expected, outcome=False, **more)


def _imports(name: str, act: Callable[[Sandbox], object], **more: Any) -> Way:
    def run(s: Sandbox) -> None:
        sys.path.insert(0, str(s.root))
        try:
            act(s)
        finally:
            sys.path.remove(str(s.root))
            sys.modules.pop("module_in_sandbox", None)

    return _runs(name, run, "module:module_in_sandbox", **more)


def _from_spec(s: Sandbox) -> None:
    spec = importlib.util.spec_from_file_location("module_in_sandbox", s.path("module_in_sandbox.py"))
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _native(name: str, act: Callable[[Sandbox], object], expected: str) -> Way:
    def run(s: Sandbox) -> None:
        s.result = act(s)

    return Way(name, run, lambda s: s.result is not None, "code_execution", lambda s: expected, outcome=False)


def _environment(name: str, act: Callable[[Sandbox], object], expected: Callable[[], bool]) -> Way:
    def prepare(_s: Sandbox) -> None:
        os.environ["SANDBOX_B"] = "1"
        os.environ.pop("SANDBOX_A", None)

    return Way(name, act, lambda s: expected(), "custom", lambda s: "env:SANDBOX_*", prepare=prepare)


def _lower_limit(s: Sandbox) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    s.result = None
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    s.result = "set"


def _deletes_in(name: str, run_in: Callable[[Callable[[], object]], object]) -> Way:
    return Way(
        f"os_remove_in_{name}",
        lambda s: run_in(functools.partial(os.remove, s.path("data.txt"))),
        lambda s: not s.exists("data.txt"),
        "file_delete",
        lambda s: s.path("data.txt"),
    )


def _in_thread(act: Callable[[], object]) -> None:
    thread = threading.Thread(target=_quietly(act))
    thread.start()
    thread.join()


def _in_nested_thread(act: Callable[[], object]) -> None:
    _in_thread(lambda: _in_thread(act))


def _in_raw_thread(act: Callable[[], object]) -> None:
    done = threading.Event()

    def run() -> None:
        try:
            _quietly(act)()
        finally:
            done.set()

    _thread.start_new_thread(run, ())
    assert done.wait(10)


def _in_timer(act: Callable[[], object]) -> None:
    timer = threading.Timer(0, _quietly(act))
    timer.start()
    timer.join()


def _quietly(act: Callable[[], object]) -> Callable[[], None]:
    """Threads print what they die of; a denial is expected here."""

    def run() -> None:
        try:
            act()
        except Exception as e:
            if type(e).__name__ != "ActionBlockedError":
                raise

    return run


HOST_POOL = concurrent.futures.ThreadPoolExecutor(1)
HOST_THREAD_POOL = multiprocessing.pool.ThreadPool(1)
"""Made, with their workers, before any monitor."""
HOST_POOL.submit(int).result()


def _in_new_pool(act: Callable[[], object]) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(act).result()


async def _task(act: Callable[[], object]) -> None:
    async def run() -> None:
        act()

    await asyncio.create_task(run())


async def _callback(act: Callable[[], object], context: contextvars.Context | None = None) -> None:
    done = asyncio.get_running_loop().create_future()

    def run() -> None:
        try:
            act()
        except Exception as e:
            done.set_exception(e)
        else:
            done.set_result(None)

    asyncio.get_running_loop().call_soon(run, context=context)
    await done


async def _executor(act: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, act)


def _in_generator(act: Callable[[], object]) -> None:
    def steps() -> Any:
        yield
        act()
        yield

    for _ in steps():
        pass


def _in_finalizer(act: Callable[[], object]) -> None:
    class Finalized:
        def __del__(self) -> None:
            _quietly(act)()

    Finalized()


def _in_signal_handler(act: Callable[[], object]) -> None:
    import signal

    before = signal.signal(signal.SIGUSR1, lambda *_: act())
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def _after_emptying_modules(act: Callable[[], object]) -> None:
    kept = {name: module for name, module in sys.modules.items() if name.startswith(("vaultak", "wrapt"))}
    for name in kept:
        del sys.modules[name]
    try:
        act()
    finally:
        sys.modules.update(kept)


def _after_restoring(act: Callable[[], object]) -> None:
    patched, os.remove = os.remove, os.remove.__wrapped__
    try:
        act()
    finally:
        os.remove = patched


def _after_reload(act: Callable[[], object]) -> None:
    importlib.reload(sys.modules["vaultak.intercept.files"])
    act()


def _with_hostile_hook(act: Callable[[], object]) -> None:
    """Goes around the refusal to be rebound, through the module's dictionary."""
    hook = vars(sys.modules["vaultak.intercept.hook"])
    judge, hook["judge"] = hook["judge"], lambda *_: None
    try:
        act()
    finally:
        hook["judge"] = judge


_WHERE: dict[str, Callable[[Callable[[], object]], object]] = {
    "thread": _in_thread,
    "nested_thread": _in_nested_thread,
    "raw_thread": _in_raw_thread,
    "timer": _in_timer,
    "new_pool": _in_new_pool,
    "host_pool": lambda act: HOST_POOL.submit(act).result(),
    "host_pool_map": lambda act: list(HOST_POOL.map(lambda _: act(), [0])),
    "host_thread_pool": lambda act: HOST_THREAD_POOL.apply(act),
    "host_thread_pool_map": lambda act: HOST_THREAD_POOL.map(lambda _: act(), [0]),
    "host_thread_pool_imap": lambda act: list(HOST_THREAD_POOL.imap(lambda _: act(), [0])),
    "task": lambda act: asyncio.run(_task(act)),
    "callback": lambda act: asyncio.run(_callback(act)),
    "callback_in_fresh_context": lambda act: asyncio.run(_callback(act, contextvars.Context())),
    "to_thread": lambda act: asyncio.run(asyncio.to_thread(act)),
    "loop_executor": lambda act: asyncio.run(_executor(act)),
    "copied_context": lambda act: contextvars.copy_context().run(act),
    "fresh_context": lambda act: contextvars.Context().run(act),
    "generator": _in_generator,
    "finalizer": _in_finalizer,
    "signal_handler": _in_signal_handler,
    "emptied_modules": _after_emptying_modules,
    "restored_original": _after_restoring,
    "reloaded_interceptor": _after_reload,
    "replaced_judge": _with_hostile_hook,
}

WAYS: tuple[Way, ...] = (
    _runs("exec_text", lambda s: exec(MARK), f"code:{MARK}"),
    _runs("exec_code", lambda s: exec(_CODE), "code:<agent>"),
    _runs("exec_compiled", lambda s: exec(compile(MARK, "<here>", "exec")), "code:<here>"),
    _runs("eval_text", lambda s: eval("setattr(__import__('builtins'), 'sandbox_ran', True)"), "code:setattr*"),
    _runs("runpy_path", lambda s: runpy.run_path(s.path("module_in_sandbox.py")), "code:*module_in_sandbox.py"),
    _runs("interactive_console", lambda s: code.InteractiveInterpreter().runsource(MARK)),
    _runs("timeit", lambda s: timeit.timeit(MARK, number=1)),
    _runs("function_type", lambda s: types.FunctionType(_CODE, {"__builtins__": builtins})(), "code:function.__new__"),
    _imports("import_statement", lambda s: __import__("module_in_sandbox")),
    _imports("import_module", lambda s: importlib.import_module("module_in_sandbox")),
    _imports("import_spec", _from_spec),
    _imports("import_in_thread", lambda s: _in_thread(lambda: __import__("module_in_sandbox"))),
    _native("ctypes_library", lambda s: ctypes.CDLL("libc.so.6"), "native:libc.so.6"),
    _native("ctypes_process", lambda s: ctypes.CDLL(None), "native:python"),
    _native("ctypes_symbol", lambda s: ctypes.CDLL(None).getppid, "native:getppid"),
    _native("ctypes_pythonapi", lambda s: ctypes.pythonapi.PyErr_Clear, "native:PyErr_Clear"),
    _environment("environ_set", lambda s: os.environ.__setitem__("SANDBOX_A", "1"), lambda: "SANDBOX_A" in os.environ),
    _environment("environ_pop", lambda s: os.environ.pop("SANDBOX_B"), lambda: "SANDBOX_B" not in os.environ),
    _environment("environ_update", lambda s: os.environ.update({"SANDBOX_A": "1"}), lambda: "SANDBOX_A" in os.environ),
    Way("resource_setrlimit", _lower_limit, lambda s: s.result == "set", "permission_change",
        lambda s: "resource-limit:RLIMIT_CORE", outcome=False),
    *(_deletes_in(name, run_in) for name, run_in in _WHERE.items()),
)  # fmt: skip
