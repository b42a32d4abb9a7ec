"""The signing key and the lock of a data directory: private, made once, never silently replaced."""

from __future__ import annotations

import hashlib
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from vaultak.control.signatures import TrustStore
from vaultak.errors import ConfigurationError
from vaultak.wire import Command, CommandType
from vaultak_devstack.files import write_private
from vaultak_devstack.keys import command_signer, key_path, load_or_create_key, public_hex, trusted_dir
from vaultak_devstack.lockfile import StackLock, StackRunsError, StackState

STATE = StackState(
    pid=1,
    started_at="2026-11-23T06:00:00Z",
    broker="embedded",
    bootstrap_servers="127.0.0.1:9092",
    clickhouse="embedded",
    clickhouse_dsn="clickhouse://viewer:x@127.0.0.1:8123/vaultak",
)


def test_the_key_is_made_once_private_and_its_public_half_is_trusted(tmp_path: Path) -> None:
    first, second = load_or_create_key(tmp_path), load_or_create_key(tmp_path)
    assert public_hex(first) == public_hex(second)
    assert stat.S_IMODE(key_path(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(key_path(tmp_path).parent.stat().st_mode) == 0o700
    (trusted,) = trusted_dir(tmp_path).iterdir()
    assert trusted.read_text() == public_hex(first)
    assert trusted.name == hashlib.sha256(bytes.fromhex(public_hex(first))).hexdigest()[:16] + ".pub"


def test_processes_that_make_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from vaultak_devstack import keys\n"
        "print(keys.public_hex(keys.load_or_create_key(pathlib.Path(sys.argv[1]))))"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    told = [maker.communicate(timeout=30)[0].strip() for maker in makers]
    assert told == [public_hex(load_or_create_key(tmp_path))] * 6


def test_a_command_signed_here_is_obeyed_here_and_a_changed_one_is_not(tmp_path: Path) -> None:
    command = Command(
        command_id="c",
        agent_id="a",
        command=CommandType.PAUSE,
        ts="2026-11-23T06:00:00.000000Z",
        expires_at="2026-11-23T06:05:00.000000Z",
        issued_by="test",
        epoch=1,
    )
    signed = command_signer(tmp_path)(command)
    trust = TrustStore(tmp_path / "keys")
    assert trust.verify(signed) == ""
    assert trust.verify(msgspec.structs.replace(signed, command=CommandType.RESUME))
    assert trust.verify(command_signer(tmp_path / "elsewhere")(command))


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    load_or_create_key(tmp_path)
    key_path(tmp_path).chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_or_create_key(tmp_path)


@pytest.mark.parametrize("content", [b"", b"zz" * 32, b"ab" * 31, b"\xff\xfe"])
def test_a_file_that_is_no_key_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    write_private(key_path(tmp_path), content)
    with pytest.raises(ConfigurationError, match=r"control\.key"):
        load_or_create_key(tmp_path)
    assert key_path(tmp_path).read_bytes() == content


def test_a_state_without_a_held_lock_is_stale(tmp_path: Path) -> None:
    assert StackState.load(tmp_path) is None
    STATE.save(tmp_path)
    assert StackState.load(tmp_path) is None
    with StackLock(tmp_path):
        assert StackState.load(tmp_path) is None, "what a dead stack left behind is removed"
        STATE.save(tmp_path)
        assert StackState.load(tmp_path) == STATE
        assert stat.S_IMODE((tmp_path / "stack.json").stat().st_mode) == 0o600
    assert StackState.load(tmp_path) is None


def test_a_damaged_state_counts_as_none(tmp_path: Path) -> None:
    with StackLock(tmp_path):
        (tmp_path / "stack.json").write_bytes(b"{")
        assert StackState.load(tmp_path) is None
        with pytest.raises(StackRunsError, match="another one is just starting"):
            StackLock(tmp_path).acquire()


def test_a_data_directory_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Exception, match=r"VAULTAK_DATA_DIR: cannot use `.*/file/data`"):
        StackLock(tmp_path / "file" / "data").acquire()
