"""Clients of Kafka end without a trace in those who used them, whatever happens inside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vaultak.kafka_clients import end_client


class Client:
    def __init__(self, stop: Any) -> None:
        self.stop = stop


async def _lets_a_cancellation_out() -> None:
    # As aiokafka's consumer does when its broker goes while a fetch is being retried.
    inner = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    inner.cancel()
    await inner


async def _fails() -> None:
    raise RuntimeError("a bug of somebody else's")


@pytest.mark.parametrize("stop", [_lets_a_cancellation_out, _fails])
async def test_what_goes_wrong_inside_stays_there(stop: Any) -> None:
    await end_client(Client(stop))


async def test_one_that_never_ends_is_left() -> None:
    ended: list[bool] = []

    async def hangs() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    await end_client(Client(hangs), timeout_s=0.01)
    await asyncio.sleep(0)
    assert ended == [True]


async def test_who_is_cancelled_meanwhile_is() -> None:
    waiting = asyncio.ensure_future(end_client(Client(lambda: asyncio.sleep(60))))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
