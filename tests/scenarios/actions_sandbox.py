"""Where the catalogue of actions acts: a directory with files, servers on loopback, a child process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Sandbox:
    """Made and read outside every monitor."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.fd = -1
        self.result: Any = None
        self.kept: Any = None
        self._release: Callable[[], object] | None = None
        (self.root / "data.txt").write_text("secret")
        (self.root / "dir").mkdir()
        (self.root / "tree" / "deep").mkdir(parents=True)
        (self.root / "tree" / "deep" / "leaf").write_text("leaf")
        (self.root / "link").symlink_to(self.root / "data.txt")
        (self.root / "linked_dir").symlink_to(self.root / "dir")
        (self.root / "module_in_sandbox.py").write_text("import builtins\nbuiltins.sandbox_ran = True\n")
        self.tcp = _listening(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        self.udp = _listening(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        self.unix = _listening(socket.AF_UNIX, socket.SOCK_STREAM, str(self.root / "s"))
        self._http: ThreadingHTTPServer | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self.requests: list[str] = []
        self._host_fds = [os.open(self.root / "dir", os.O_RDONLY)]

    def path(self, name: str) -> str:
        return str(self.root / name)

    def exists(self, name: str) -> bool:
        return os.path.lexists(self.root / name)

    def text(self, name: str = "data.txt") -> str:
        return (self.root / name).read_text()

    @property
    def dir_fd(self) -> int:
        return self._host_fds[0]

    def open_by_host(self, flags: int, name: str = "data.txt") -> int:
        """A descriptor that the host opened before the agent began."""
        self._host_fds.append(os.open(self.root / name, flags, 0o600))
        return self._host_fds[-1]

    def connected_by_host(self) -> socket.socket:
        """A connection that the host made before the agent began."""
        client = socket.create_connection(self.tcp.getsockname())
        self._accepted = self.tcp.accept()[0]
        self._accepted.setblocking(False)
        return client

    def received_by_peer(self) -> bool:
        try:
            return bool(self._accepted.recv(100))
        except BlockingIOError:
            return False

    def accepted(self, server: socket.socket | None = None) -> bool:
        try:
            (server or self.tcp).accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def datagram(self) -> bool:
        try:
            self.udp.recv(100)
        except BlockingIOError:
            return False
        return True

    def http_url(self) -> str:
        if self._http is None:
            requests = self.requests

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    requests.append(self.path)
                    self.send_response(204)
                    self.end_headers()

                do_POST = do_PUT = do_GET  # noqa: N815  # names the base class looks for

                def log_message(self, *_: object) -> None:
                    pass

            self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{self._http.server_port}/x"

    @property
    def http_port(self) -> int:
        self.http_url()
        assert self._http is not None
        return self._http.server_port

    def child(self) -> int:
        """A process of the host's that an agent could signal."""
        process = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, start_new_session=True)
        self._children.append(process)
        return process.pid

    def child_died(self) -> bool:
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            if self._children[-1].poll() is not None:
                return True
            time.sleep(0.005)
        return False

    def keep(self, thing: object, release: Callable[[], object] | None = None) -> None:
        """Something of the host's that the agent uses."""
        self.kept, self._release = thing, release

    def close(self) -> None:
        if self._release is not None:
            self._release()
        for child in self._children:
            child.kill()
            child.wait()
        for server in (self.tcp, self.udp, self.unix):
            server.close()
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
        for fd in self._host_fds:
            os.close(fd)


def _listening(family: int, kind: int, address: Any) -> socket.socket:
    server = socket.socket(family, kind)
    server.bind(address)
    if kind == socket.SOCK_STREAM:
        server.listen()
    server.setblocking(False)
    return server


@dataclass(frozen=True)
class Way:
    """One way to cause an effect: how, how to see that it happened, and what the audit must say."""

    name: str
    act: Callable[[Sandbox], object]
    happened: Callable[[Sandbox], bool]
    action_type: str
    resource: Callable[[Sandbox], str]
    """The resource in the audit; a trailing `*` stands for any ending."""
    outcome: bool = True
    """Whether the outcome is recorded too: not where a patch is deliberately gone around."""
    repeats: bool = False
    """Whether one call does the same thing several times by nature."""
    prepare: Callable[[Sandbox], object] | None = None
    needs: tuple[str, ...] = field(default=())
    """Modules or `module.function`s that this platform may lack."""


PYTHON = sys.executable
