"""Ways in which code has work done elsewhere than in its own call: data for the attribution battery.

Each is a generator: what it does before its first `yield` happens before the monitor is entered, what it does until the
second happens inside, the rest after it was left. It has `act` run once, by work that was handed in inside.
"""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import contextlib
import contextvars
import queue
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from multiprocessing.pool import ThreadPool
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

Act = Callable[[], None]
Way = Callable[[Act], Generator[None, None, None]]

WAYS: dict[str, Way] = {}
WAIT_S = 20.0


def way(function: Way) -> Way:
    WAYS[function.__name__] = function
    return function


def inside(function: Callable[[Act], None]) -> None:
    """A way that begins and ends within the monitor."""

    def run(act: Act) -> Generator[None, None, None]:
        yield
        function(act)
        yield

    WAYS[function.__name__] = run


def coroutine(function: Callable[[Act], Coroutine[Any, Any, None]]) -> None:
    """A way of its own event loop, which begins and ends within the monitor."""

    def run(act: Act) -> Generator[None, None, None]:
        yield
        asyncio.run(function(act))
        yield

    WAYS[function.__name__] = run


# -- threads ---------------------------------------------------------------------------------------------------------


@inside
def a_call(act: Act) -> None:
    act()


@inside
def a_thread(act: Act) -> None:
    _in_thread(act)


@inside
def a_thread_of_a_thread(act: Act) -> None:
    _in_thread(lambda: _in_thread(act))


def _in_thread(act: Act) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


@inside
def a_subclass_of_thread(act: Act) -> None:
    class Worker(threading.Thread):
        def run(self) -> None:
            act()

    worker = Worker(daemon=True)
    worker.start()
    worker.join()


@inside
def a_raw_thread(act: Act) -> None:
    done = _thread.allocate_lock()
    done.acquire()

    def work() -> None:
        act()
        done.release()

    _thread.start_new_thread(work, ())
    assert done.acquire(timeout=WAIT_S)


@inside
def a_timer(act: Act) -> None:
    timer = threading.Timer(0.001, act)
    timer.start()
    timer.join()


@way
def a_thread_made_before(act: Act) -> Generator[None, None, None]:
    thread = threading.Thread(target=act)
    yield
    thread.start()
    thread.join()
    yield


@way
def a_thread_that_acts_afterwards(act: Act) -> Generator[None, None, None]:
    over = threading.Event()

    def work() -> None:
        assert over.wait(WAIT_S)
        act()

    yield
    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()


@inside
def a_queue_of_its_own_thread(act: Act) -> None:
    jobs: queue.Queue[Act | None] = queue.Queue()

    def work() -> None:
        for job in iter(jobs.get, None):
            job()

    thread = threading.Thread(target=work)
    thread.start()
    jobs.put(act)
    jobs.put(None)
    thread.join()


# -- pools -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _host_s_pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """Its one thread began outside every monitor."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        yield pool


@way
def a_pool_from_before(act: Act) -> Generator[None, None, None]:
    with _host_s_pool() as pool:
        yield
        pool.submit(act).result()
        yield


@way
def a_map_of_a_pool_from_before(act: Act) -> Generator[None, None, None]:
    with _host_s_pool() as pool:
        yield
        list(pool.map(lambda _: act(), [0]))
        yield


@way
def a_pool_that_comes_to_it_afterwards(act: Act) -> Generator[None, None, None]:
    go = threading.Event()
    with _host_s_pool() as pool:
        pool.submit(go.wait, WAIT_S)
        yield
        future = pool.submit(act)
        yield
        go.set()
        future.result()


@inside
def a_pool_of_its_own(act: Act) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pool.submit(act).result()


@inside
def a_task_of_a_task_of_a_pool(act: Act) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pool.submit(lambda: pool.submit(act).result()).result()


@way
def apply_of_a_thread_pool_from_before(act: Act) -> Generator[None, None, None]:
    with ThreadPool(1) as pool:
        pool.apply(int)
        yield
        pool.apply(act)
        yield


@way
def map_of_a_thread_pool_from_before(act: Act) -> Generator[None, None, None]:
    with ThreadPool(1) as pool:
        yield
        pool.map(lambda _: act(), [0])
        yield


@way
def imap_of_a_thread_pool_from_before(act: Act) -> Generator[None, None, None]:
    with ThreadPool(1) as pool:
        yield
        list(pool.imap_unordered(lambda _: act(), [0]))
        yield


@way
def a_callback_of_a_pool_s_future(act: Act) -> Generator[None, None, None]:
    go, done = threading.Event(), threading.Event()
    with _host_s_pool() as pool:
        future = pool.submit(go.wait, WAIT_S)
        yield
        future.add_done_callback(lambda _: act())
        future.add_done_callback(lambda _: done.set())
        yield
        go.set()
        assert done.wait(WAIT_S)


@inside
def a_callback_of_a_future_that_is_done(act: Act) -> None:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future.set_result(None)
    future.add_done_callback(lambda _: act())


@way
def callbacks_of_thread_pools(act: Act) -> Generator[None, None, None]:
    with ThreadPool(1) as pool:
        pool.apply(int)
        yield
        result = pool.map_async(str, [0], None, lambda _: act())
        yield
        result.wait(WAIT_S)
        pool.close()
        pool.join()


@way
def error_callbacks_of_thread_pools(act: Act) -> Generator[None, None, None]:
    with ThreadPool(1) as pool:
        yield
        result = pool.apply_async(int, ("no number",), error_callback=lambda _: act())
        yield
        result.wait(WAIT_S)
        pool.close()
        pool.join()


# -- event loops -----------------------------------------------------------------------------------------------------


@coroutine
async def a_coroutine(act: Act) -> None:
    await asyncio.sleep(0)
    act()


@coroutine
async def a_task(act: Act) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        act()

    await asyncio.create_task(work())


@coroutine
async def a_task_group(act: Act) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(a_coroutine_of(act))
        group.create_task(asyncio.sleep(0))


async def a_coroutine_of(act: Act) -> None:
    await asyncio.sleep(0)
    act()


@coroutine
async def gathered(act: Act) -> None:
    await asyncio.gather(asyncio.sleep(0), a_coroutine_of(act))


@coroutine
async def a_callback_of_the_loop(act: Act) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.call_soon(lambda: (act(), done.set()))
    await done.wait()


@coroutine
async def a_late_callback_of_the_loop(act: Act) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.call_later(0.001, lambda: (act(), done.set()))
    await done.wait()


@coroutine
async def a_callback_from_another_thread(act: Act) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    threading.Thread(target=loop.call_soon_threadsafe, args=(lambda: (act(), done.set()),)).start()
    await done.wait()


@way
def a_callback_on_a_host_s_loop(act: Act) -> Generator[None, None, None]:
    with _host_s_loop() as loop:
        yield
        done = threading.Event()
        loop.call_soon_threadsafe(lambda: (act(), done.set()))
        assert done.wait(WAIT_S)
        yield


@way
def a_reader_on_a_host_s_loop(act: Act) -> Generator[None, None, None]:
    with _host_s_loop() as loop:
        ours, theirs = socket.socketpair()
        yield
        done = threading.Event()
        loop.call_soon_threadsafe(loop.add_reader, ours, lambda: (loop.remove_reader(ours), act(), done.set()))
        yield
        theirs.send(b"x")
        assert done.wait(WAIT_S)
        ours.close()
        theirs.close()


@coroutine
async def a_done_callback(act: Act) -> None:
    done = asyncio.Event()
    task = asyncio.create_task(asyncio.sleep(0))
    task.add_done_callback(lambda _: (act(), done.set()))
    await done.wait()


@coroutine
async def the_executor_of_the_loop(act: Act) -> None:
    await asyncio.get_running_loop().run_in_executor(None, act)


@coroutine
async def to_thread(act: Act) -> None:
    await asyncio.to_thread(act)


@coroutine
async def a_coroutine_from_a_thread(act: Act) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(a_coroutine_of(act), loop).result(WAIT_S))


@coroutine
async def an_async_generator(act: Act) -> None:
    async def items() -> AsyncIterator[int]:
        yield 0
        act()
        yield 1

    async for _ in items():
        await asyncio.sleep(0)


@coroutine
async def the_end_of_an_async_generator(act: Act) -> None:
    async def items() -> AsyncIterator[int]:
        try:
            yield 0
        finally:
            await asyncio.sleep(0)
            act()

    generator = items()
    await anext(generator)
    await generator.aclose()  # type: ignore[attr-defined]


@way
def a_callback_of_a_loop_that_runs_afterwards(act: Act) -> Generator[None, None, None]:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        yield
        loop.call_soon(act)
        yield
        runner.run(asyncio.sleep(0))


@way
def a_task_of_a_loop_that_runs_afterwards(act: Act) -> Generator[None, None, None]:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        yield
        task = loop.create_task(a_coroutine_of(act))
        yield
        loop.run_until_complete(task)


@contextlib.contextmanager
def _host_s_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """It runs in a thread that began outside every monitor."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@way
def a_coroutine_on_a_host_s_loop(act: Act) -> Generator[None, None, None]:
    with _host_s_loop() as loop:
        yield
        asyncio.run_coroutine_threadsafe(a_coroutine_of(act), loop).result(WAIT_S)
        yield


# -- contexts --------------------------------------------------------------------------------------------------------


@inside
def a_copy_of_the_context(act: Act) -> None:
    contextvars.copy_context().run(act)


@inside
def a_copy_of_the_context_in_a_thread(act: Act) -> None:
    context = contextvars.copy_context()
    _in_thread(lambda: context.run(act))


@inside
def a_generator(act: Act) -> None:
    def items() -> Iterator[None]:
        yield
        act()

    list(items())


# -- anyio -----------------------------------------------------------------------------------------------------------


@coroutine
async def a_task_group_of_anyio(act: Act) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(a_coroutine_of, act)


@coroutine
async def a_worker_thread_of_anyio(act: Act) -> None:
    await anyio.to_thread.run_sync(int)  # its idle worker takes the next one too
    await anyio.to_thread.run_sync(act)


@coroutine
async def back_from_a_worker_thread_of_anyio(act: Act) -> None:
    await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(a_coroutine_of, act))


@inside
def a_portal_of_anyio(act: Act) -> None:
    with anyio.from_thread.start_blocking_portal() as portal:
        portal.call(act)


@way
def a_portal_of_anyio_from_before(act: Act) -> Generator[None, None, None]:
    with anyio.from_thread.start_blocking_portal() as portal:
        yield
        portal.call(act)
        yield


if sys.version_info >= (3, 12):

    @coroutine
    async def an_eager_task(act: Act) -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await asyncio.create_task(a_coroutine_of(act))
