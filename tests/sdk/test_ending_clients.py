"""Clients of Kafka end without a trace in those who used them, whatever happens inside."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from security.certificates import Authority
from vaultak.config import Settings
from vaultak.kafka_clients import client_kwargs, end_client


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


async def test_a_tls_connection_ends_though_the_other_side_says_no_goodbye(tmp_path: Path) -> None:
    authority = Authority("a")
    certificate = authority.server(tmp_path / "server.pem")
    settings = Settings.from_env(
        {
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CAFILE": str(authority.trusted(tmp_path / "authority.pem")),
        }
    )
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.load_cert_chain(certificate)
    over = threading.Event()

    def hears_nothing(listening: socket.socket) -> None:
        with here.wrap_socket(listening.accept()[0], server_side=True):
            over.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(asyncio.to_thread(hears_nothing, listening))
        try:
            context = client_kwargs(settings)["ssl_context"]
            _, writer = await asyncio.open_connection(*listening.getsockname(), ssl=context)
            writer.write(b"a request")
            writer.close()
            async with asyncio.timeout(10):
                await writer.wait_closed()
        finally:
            over.set()
            await serving
