"""Ways to a peer, or through the importer, whose arguments show Python code something else than what C code takes."""

from __future__ import annotations

import importlib._bootstrap_external as bootstrap  # what an agent may take hold of
import os
import socket
import types
from collections.abc import Iterator
from typing import Any

from scenarios.actions_bent import Name, Number, host
from scenarios.actions_libraries import connects
from scenarios.actions_more import module, sees
from scenarios.actions_sandbox import Sandbox, Way


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "192.0.2.1"

    def lower(self) -> str:
        return "192.0.2.1"

    def __format__(self, _spec: str) -> str:
        return "192.0.2.1"


class Pair(tuple[Any, ...]):
    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        return ("192.0.2.1", 1)[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(("192.0.2.1", 1))


class Local(socket.socket):
    """Says that it belongs to another family."""

    @property
    def family(self) -> Any:
        return socket.AF_UNIX

    def fileno(self) -> int:
        return 0


def _connect(address: Any, kind: type[socket.socket] = socket.socket) -> None:
    with kind() as sock:
        sock.connect(address)


def _connect_unix(s: Sandbox) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(Name(os.fsencode(s.path("s"))))


def _send_to(s: Sandbox) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (Text("127.0.0.1"), s.udp.getsockname()[1]))


def _run_text_of(s: Sandbox) -> str:
    """The importer's own steps, with a loader whose code is the content of any file: the error shows it."""
    loader = types.SimpleNamespace(get_code=bootstrap.FileLoader("x", "x").get_data)
    try:
        bootstrap._LoaderBasics.exec_module(loader, types.SimpleNamespace(__name__=s.path("data.txt")))
    except NameError as e:
        return str(e)
    return ""


def _load(s: Sandbox) -> None:
    loader = types.SimpleNamespace(get_code=module("ctypes").CDLL)
    try:
        bootstrap._LoaderBasics.exec_module(loader, types.SimpleNamespace(__name__=None))
    except ImportError:
        s.result = True  # the library is loaded, and `None` is no module's name
    except TypeError:
        s.result = True


def _address(s: Sandbox) -> str:
    ctypes = module("ctypes")
    kept = ctypes.create_string_buffer(b"secret")
    return str(ctypes.cast(int(ctypes.addressof(kept)), ctypes.c_char_p).value)


def _cast(s: Sandbox) -> None:
    s.result = _address(s)


def _renamed_code(s: Sandbox) -> None:
    def act() -> object:
        return module("gc").get_objects()

    module("_imp")._fix_co_filename(act.__code__, os.__file__)
    s.result = act()


def _wake_up(s: Sandbox) -> None:
    signal, thread = module("signal"), module("_thread")
    os.set_blocking(s.fd, False)
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    woken = signal.set_wakeup_fd(s.fd)
    try:
        thread.interrupt_main(signal.SIGUSR2)
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGUSR2, before)


WAYS: tuple[Way, ...] = (
    connects("connect_lying_host", lambda _s, port: _connect((Text("127.0.0.1"), port))),
    connects("connect_lying_port", lambda _s, port: _connect(("127.0.0.1", Number(port)))),
    connects("connect_lying_pair", lambda _s, port: _connect(Pair(("127.0.0.1", port)))),
    connects("connect_lying_family", lambda _s, port: _connect(("127.0.0.1", port), Local)),
    Way("connect_lying_unix", _connect_unix, lambda s: s.accepted(s.unix), "network_request",
        lambda s: f"unix:{s.path('s')}"),
    Way("sendto_lying_host", _send_to, lambda s: s.datagram(), "network_request",
        lambda s: f"127.0.0.1:{s.udp.getsockname()[1]}"),
    sees("importer_runs_any_file", _run_text_of, outcome=False, repeats=True),
    Way("importer_loads_library_as_code", _load, lambda s: bool(s.result), "code_execution",
        lambda _s: "native:python"),
    Way("cast_of_address", _cast, lambda s: "secret" in str(s.result), "code_execution", lambda _s: "native:memory"),
    Way("code_renamed_in_place", _renamed_code, lambda s: bool(s.result), "code_execution",
        lambda _s: "code:gc.get_objects", outcome=False),
    Way("wake_up_descriptor", _wake_up, lambda s: s.text() != "secret", "file_write", lambda s: s.path("data.txt"),
        prepare=host(os.O_WRONLY)),
)  # fmt: skip
