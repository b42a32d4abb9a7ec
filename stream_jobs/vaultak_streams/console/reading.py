"""Questions to the audit store from the event loop: a few connections, each used by one thread at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.errors import StoreUnavailableError

CONNECTIONS = 6
"""Questions that run at once; a page asks up to four. Others wait."""

P = ParamSpec("P")
T = TypeVar("T")


class Reader:
    """Asks the store as whatever user the DSN names: give it the viewer."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._idle: list[Store] = []
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="console-store")

    async def ask(self, question: Callable[Concatenate[Store, P], T], *arguments: P.args, **named: P.kwargs) -> T:
        """Run one function of `queries` on a connection. Raises `StoreError`."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self._run(lambda store: question(store, *arguments, **named))
        )

    def _run(self, question: Callable[[Store], T]) -> T:
        store = self._take()
        try:
            answer = question(store)
        except StoreUnavailableError:
            store.close()
            raise
        except BaseException:
            self._idle.append(store)
            raise
        self._idle.append(store)
        return answer

    def _take(self) -> Store:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return connect(self._dsn)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()
