"""The filter decides by number and registers alone, as the tables say, on both architectures."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak.floor.bpf import ALLOW, ERRNO, KILL_PROCESS, O_PATH, USER_NOTIFY, assemble, instructions
from vaultak.floor.syscalls import ABSENT, JUDGED, NEW_NAMESPACES, REFUSED, TIOCSTI, X32_BIT, Table, table

MACHINES = ("x86_64", "aarch64")
EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS


def _table(machine: str) -> Table:
    found = table(machine)
    assert found is not None
    return found


def decide(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the kernel's interpreter would make of the filter."""
    known = _table(machine)
    registers = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, known.audit_arch if arch is None else arch, 0, *registers)
    code = assemble(instructions(known))
    at = loaded = 0
    while True:
        operation, true, false, operand = struct.unpack_from("=HBBI", code, at * 8)
        at += 1
        if operation == 0x20:
            (loaded,) = struct.unpack_from("=I", data, operand)
        elif operation == 0x06:
            return int(operand)
        else:
            holds = loaded == operand if operation == 0x15 else bool(loaded & operand)
            at += true if holds else false


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_of_the_tables(machine: str) -> None:
    column = MACHINES.index(machine)
    every = {"sendto": (0, 0, 0, 0, 1)}
    for name, row in JUDGED.items():
        if row[column] >= 0:
            assert decide(machine, row[column], *every.get(name, ())) == USER_NOTIFY, name
    for name, row in REFUSED.items():
        if row[column] >= 0:
            assert decide(machine, row[column]) == EPERM, name
    for name, row in ABSENT.items():
        assert decide(machine, row[column]) == ENOSYS, name


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2**30 - 1), registers=st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6))
def test_any_other_call_passes(machine: str, number: int, registers: list[int]) -> None:
    known = _table(machine)
    named = {*known.judged, *known.refused, *known.absent, known.clone, known.ioctl}
    if number not in named:
        assert decide(machine, number, *registers) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
@given(registers=st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6))
def test_what_hangs_on_registers(machine: str, registers: list[int]) -> None:
    number = _table(machine).number
    assert decide(machine, number["clone"], *registers) == (EPERM if registers[0] & NEW_NAMESPACES else ALLOW)
    assert decide(machine, number["sendto"], *registers) == (USER_NOTIFY if registers[4] else ALLOW)
    assert decide(machine, number["openat"], *registers) == (ALLOW if registers[2] & O_PATH else USER_NOTIFY)
    assert decide(machine, number["ioctl"], 0, registers[0] >> 32 << 32 | TIOCSTI) == EPERM


@given(number=st.integers(0, 2**32 - 1), arch=st.integers(0, 2**32 - 1))
def test_other_architectures_are_killed_and_x32_is_absent(number: int, arch: int) -> None:
    if arch != _table("x86_64").audit_arch:
        assert decide("x86_64", number, arch=arch) == KILL_PROCESS
    assert decide("x86_64", number | X32_BIT) == ENOSYS


def test_no_floor_elsewhere() -> None:
    assert table("riscv64") is None
