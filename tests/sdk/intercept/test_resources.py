"""One thing has one name, however it was addressed; what is no action stays out of the audit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.intercept.recorder import Recorder, governed
from vaultak.intercept import install, names, paths
from vaultak.intercept.sockets import resource_of

install()


@pytest.fixture
def agent() -> Recorder:
    return Recorder()


def test_names_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("a/b")
    real = os.path.realpath(tmp_path / "file")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        for name in (real, "link/../../file", "a/./b/../../file", os.fsencode(real), tmp_path / "file", fd):
            full = name if isinstance(name, int | bytes) else os.path.join(tmp_path, name)
            assert paths.resolve(full) == real
    finally:
        os.close(fd)


def test_what_does_not_exist_is_named_by_its_real_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert paths.resolve(tmp_path / "link" / "new") == os.path.realpath(tmp_path / "real") + "/new"
    assert paths.resolve(tmp_path / "no" / "such" / "new") == os.path.realpath(tmp_path) + "/no/such/new"


SEGMENTS = st.lists(st.sampled_from(["a", "b", "link", "loop", "..", ".", "none", "file"]), min_size=1, max_size=6)


@given(SEGMENTS, st.booleans())
def test_resolving_agrees_with_the_standard_library(segments: list[str], follow: bool) -> None:
    root = Path(tempfile.gettempdir()).resolve() / f"vaultak-paths-{os.getpid()}"
    if not root.exists():
        (root / "a" / "b").mkdir(parents=True)
        (root / "a" / "file").write_text("x")
        (root / "link").symlink_to("a/b")
        (root / "a" / "link").symlink_to("..")
        (root / "loop").symlink_to("loop")
    name = "/".join([str(root), *segments])
    if segments[-1] in ("..", "."):
        follow = True
    expected = (
        os.path.realpath(name)
        if follow
        else os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
    )
    assert paths.resolve(name, follow=follow) == expected


@given(st.binary(min_size=1, max_size=40).filter(lambda b: b"/" not in b and b"\0" not in b))
def test_any_bytes_make_a_printable_name(name: bytes) -> None:
    paths.printable(os.fsdecode(b"/tmp/" + name)).encode()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("127.1", 80), "127.0.0.1:80"),
        (("0x7f000001", 80), "127.0.0.1:80"),
        (("2130706433", 80), "127.0.0.1:80"),
        (("API.Example.com.", 443), "api.example.com:443"),
        ((b"api.example.com", 443), "api.example.com:443"),
        (("::1", 80), "[::1]:80"),
        (("0:0:0:0:0:0:0:1", 80, 0, 0), "[::1]:80"),
        (("::ffff:10.0.0.1", 80, 0, 0), "10.0.0.1:80"),
        (("", 80), "0.0.0.0:80"),
    ],
)
def test_names_of_one_address(address: tuple[object, ...], expected: str) -> None:
    names.forget()
    assert resource_of(socket.AF_INET6 if len(address) > 2 else socket.AF_INET, address)[0] == expected


def test_an_address_is_known_by_the_name_it_was_resolved_from(agent: Recorder) -> None:
    names.remember("api.example.com", "203.0.113.5")
    resource, payload = resource_of(socket.AF_INET, ("203.0.113.5", 443))
    assert resource == "api.example.com:443"
    assert payload == {"address": "203.0.113.5:443", "resources": ["203.0.113.5:443"]}
    names.remember("203.0.113.5", "203.0.113.5")
    assert resource_of(socket.AF_INET, ("203.0.113.5", 443))[0] == "203.0.113.5:443"


def test_importing_installed_libraries_is_no_action(agent: Recorder) -> None:
    with governed(agent):
        for name in ("wave", "mailbox", "xml.sax.saxutils", "_pytest.pastebin"):
            for loaded in [m for m in sys.modules if m == name]:
                del sys.modules[loaded]
            __import__(name)
    assert agent.asked == []


def test_a_traceback_that_shows_source_lines_is_no_action(agent: Recorder) -> None:
    import linecache
    import traceback

    linecache.clearcache()
    with governed(agent):
        try:
            raise ValueError
        except ValueError:
            assert "raise ValueError" in traceback.format_exc()
    assert agent.asked == []


def test_looking_around_is_no_action(agent: Recorder, tmp_path: Path) -> None:
    with governed(agent):
        os.listdir(tmp_path)
        list(os.walk(tmp_path))
        os.stat(tmp_path)
        Path(tmp_path).exists()
        open(os.devnull, "w").close()
        os.kill(os.getpid(), 0)
        socket.getaddrinfo("127.0.0.1", 80)
        read, write = os.pipe()
        os.write(write, b"x")
        os.close(read)
        os.close(write)
    assert agent.asked == []


def test_a_child_names_its_program_arguments_and_files(agent: Recorder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.env"
    secret.write_text("x")
    with governed(agent):
        subprocess.run(["cat", "secret.env", f"--show={secret}", "https://example.com/x"], cwd=tmp_path, check=False,
                       capture_output=True)  # fmt: skip
        subprocess.run(f"cat <{secret} >/dev/null", shell=True, check=True)
    first, second = (asked.payload for asked in agent.asked)
    assert agent.asked[0].resource.startswith("process:/")
    assert first["argv"] == ["cat", "secret.env", f"--show={secret}", "https://example.com/x"]
    assert first["resources"] == [str(secret)]
    assert second["argv"] == ["/bin/sh", "-c", f"cat <{secret} >/dev/null"]
    assert str(secret) in second["resources"]


def test_impossible_arguments_fail_as_they_always_did(agent: Recorder) -> None:
    with governed(agent):
        with pytest.raises(ValueError, match="null"):
            open("a\0b")
        with pytest.raises(TypeError):
            open(object())  # type: ignore[call-overload]
        with pytest.raises(OSError):
            os.remove("/no/such/file")
    assert agent.asked[-1].outcome == "error"
    assert agent.asked[-1].error.startswith("FileNotFoundError")
