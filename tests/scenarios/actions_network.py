"""Ways to reach a peer, all on loopback."""

from __future__ import annotations

import asyncio
import ftplib
import http.client
import os
import smtplib
import socket
import urllib.request
import xmlrpc.client
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scenarios.actions_sandbox import Sandbox, Way


def _connects(name: str, act: Callable[[Sandbox], object], host: str = "127.0.0.1", **more: Any) -> Way:
    return Way(
        name,
        act,
        lambda s: s.accepted(),
        "network_request",
        lambda s: f"{host}:{s.tcp.getsockname()[1]}",
        **more,
    )


def _requests(name: str, act: Callable[[Sandbox], object], **more: Any) -> Way:
    return Way(
        name,
        act,
        lambda s: bool(s.requests),
        "network_request",
        lambda s: f"127.0.0.1:{s.http_port}",
        prepare=lambda s: s.http_url(),
        **more,
    )


def _speaks(name: str, act: Callable[[Sandbox, socket.socket], object], **more: Any) -> Way:
    """Sends over a connection that the host made."""

    def prepare(s: Sandbox) -> None:
        s.result = s.connected_by_host()

    def run(s: Sandbox) -> None:
        act(s, s.result)

    return Way(
        name,
        run,
        lambda s: s.received_by_peer(),
        "network_request",
        lambda s: f"127.0.0.1:{s.tcp.getsockname()[1]}",
        prepare=prepare,
        **more,
    )


def _datagram(name: str, act: Callable[[socket.socket, Any], object], **more: Any) -> Way:
    def run(s: Sandbox) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            act(sender, s.udp.getsockname())

    return Way(
        name,
        run,
        lambda s: s.datagram(),
        "network_request",
        lambda s: f"127.0.0.1:{s.udp.getsockname()[1]}",
        **more,
    )


def _socket_connect(s: Sandbox, host: Any = "127.0.0.1") -> None:
    with socket.socket() as client:
        client.connect((host, s.tcp.getsockname()[1]))


def _connect_ex(s: Sandbox) -> None:
    with socket.socket() as client:
        client.connect_ex(s.tcp.getsockname())


def _raw_connect(s: Sandbox) -> None:
    import _socket

    client = _socket.socket()
    client.connect(s.tcp.getsockname())
    client.close()


def _nonblocking(s: Sandbox) -> None:
    with socket.socket() as client:
        client.setblocking(False)
        with suppress(BlockingIOError):
            client.connect(s.tcp.getsockname())


def _unix(s: Sandbox) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(s.path("s"))


async def _streams(s: Sandbox) -> None:
    _reader, writer = await asyncio.open_connection("127.0.0.1", s.tcp.getsockname()[1])
    writer.close()


async def _sock_connect(s: Sandbox) -> None:
    with socket.socket() as client:
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, s.tcp.getsockname())


async def _datagram_endpoint(s: Sandbox) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=s.udp.getsockname())
    transport.sendto(b"x")
    transport.close()


def _bind(s: Sandbox) -> None:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    s.result = server


def _http(s: Sandbox) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", s.http_port)
    connection.request("GET", "/x")
    connection.getresponse().read()
    connection.close()


def _hostname_request(s: Sandbox) -> None:
    urllib.request.urlopen(s.http_url().replace("127.0.0.1", "localhost")).close()


WAYS: tuple[Way, ...] = (
    _connects("socket_connect", _socket_connect),
    _connects("socket_connect_short_form", lambda s: _socket_connect(s, "127.1")),
    _connects("socket_connect_number", lambda s: _socket_connect(s, "2130706433")),
    _connects("socket_connect_hostname", lambda s: _socket_connect(s, "localhost"), "localhost"),
    _connects("socket_connect_ex", _connect_ex),
    _connects("socket_connect_nonblocking", _nonblocking),
    _connects("raw_socket_connect", _raw_connect, outcome=False),
    _connects("socket_create_connection", lambda s: socket.create_connection(s.tcp.getsockname()).close()),
    _connects("socket_create_connection_hostname",
              lambda s: socket.create_connection(("localhost", s.tcp.getsockname()[1])).close(), "localhost"),
    _connects("socket_connect_original",
              lambda s: socket.socket.connect.__wrapped__(socket.socket(), s.tcp.getsockname()), outcome=False),
    _connects("asyncio_open_connection", lambda s: asyncio.run(_streams(s))),
    _connects("asyncio_sock_connect", lambda s: asyncio.run(_sock_connect(s))),
    _connects("smtplib", lambda s: smtplib.SMTP("127.0.0.1", s.tcp.getsockname()[1], timeout=0.05)),
    _connects("ftplib", lambda s: ftplib.FTP().connect("127.0.0.1", s.tcp.getsockname()[1], timeout=0.05)),
    _datagram("socket_sendto", lambda sender, peer: sender.sendto(b"x", peer)),
    _datagram("socket_sendto_flags", lambda sender, peer: sender.sendto(b"x", 0, peer)),
    _datagram("socket_sendmsg", lambda sender, peer: sender.sendmsg([b"x"], [], 0, peer)),
    _datagram("socket_connect_send_datagram", lambda sender, peer: (sender.connect(peer), sender.send(b"x"))),
    Way("asyncio_datagram", lambda s: asyncio.run(_datagram_endpoint(s)), lambda s: s.datagram(), "network_request",
        lambda s: f"127.0.0.1:{s.udp.getsockname()[1]}"),
    Way("socket_unix", _unix, lambda s: s.accepted(s.unix), "network_request", lambda s: f"unix:{s.path('s')}"),
    Way("socket_bind", _bind, lambda s: s.result is not None, "network_request", lambda s: "127.0.0.1:0"),
    _speaks("host_socket_send", lambda s, client: client.send(b"x")),
    _speaks("host_socket_sendall", lambda s, client: client.sendall(b"x")),
    _speaks("host_socket_sendmsg", lambda s, client: client.sendmsg([b"x"])),
    _speaks("host_socket_sendfile", lambda s, client: client.sendfile(open(s.path("data.txt"), "rb"))),
    _speaks("host_socket_os_write", lambda s, client: os.write(client.fileno(), b"x")),
    _speaks("host_socket_makefile", lambda s, client: client.makefile("wb", buffering=0).write(b"x")),
    _requests("urllib_urlopen", lambda s: urllib.request.urlopen(s.http_url()).close()),
    _requests("urllib_request_post",
              lambda s: urllib.request.urlopen(urllib.request.Request(s.http_url(), b"x")).close()),
    _requests("urllib_urlretrieve", lambda s: urllib.request.urlretrieve(s.http_url(), s.path("new"))),
    _requests("http_client", _http),
    Way("urllib_hostname", _hostname_request, lambda s: bool(s.requests), "network_request",
        lambda s: f"localhost:{s.http_port}", prepare=lambda s: s.http_url()),
    _requests("xmlrpc", lambda s: xmlrpc.client.ServerProxy(s.http_url()).anything()),
)  # fmt: skip
