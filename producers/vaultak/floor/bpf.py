"""The filter: which system calls go to the supervisor, which fail, which pass. Classic BPF, as seccomp takes it."""

from __future__ import annotations

import errno
import struct

from vaultak.floor.syscalls import NEW_NAMESPACES, TIOCLINUX, TIOCSTI, X32_BIT, Table

_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
"""Offsets in `struct seccomp_data`; an argument has 8 bytes, the low half first on both architectures."""

KILL_PROCESS = 0x80000000
ERRNO = 0x00050000
USER_NOTIFY = 0x7FC00000
ALLOW = 0x7FFF0000

O_PATH = 0x200000
_FLAGS_AT = {"open": 1, "openat": 2}
_ADDRESS_OF_SENDTO = 4

Instruction = tuple[int, int, int, int]
"""Code, steps when true, steps when false, operand."""


def _load(offset: int) -> Instruction:
    return (_LOAD, 0, 0, offset)


def _low(argument: int) -> Instruction:
    return _load(_ARGUMENTS + 8 * argument)


def _high(argument: int) -> Instruction:
    return _load(_ARGUMENTS + 8 * argument + 4)


def _finish(action: int) -> Instruction:
    return (_RETURN, 0, 0, action)


def _only_for(number: int, body: list[Instruction]) -> list[Instruction]:
    """`body` for one system call, which it ends; the others go on behind it with their number still loaded."""
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _if_any_bit(bits: int, action: int) -> list[Instruction]:
    return [(_JUMP_ANY_BIT, 0, 1, bits), _finish(action)]


def _if_equal(value: int, action: int) -> list[Instruction]:
    return [(_JUMP_EQUAL, 0, 1, value), _finish(action)]


def instructions(table: Table) -> list[Instruction]:
    """The filter for one architecture. Calls of any other architecture kill the process."""
    refuse, absent = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
    found = [_load(_ARCH), (_JUMP_EQUAL, 1, 0, table.audit_arch), _finish(KILL_PROCESS), _load(_NUMBER)]
    if table.x32:
        found += _if_any_bit(X32_BIT, absent)
    for number in table.absent:
        found += _if_equal(number, absent)
    for number in table.refused:
        found += _if_equal(number, refuse)
    found += _only_for(table.clone, [_low(0), *_if_any_bit(NEW_NAMESPACES, refuse), _finish(ALLOW)])
    pushes = _if_equal(TIOCSTI, refuse) + _if_equal(TIOCLINUX, refuse)
    found += _only_for(table.ioctl, [_low(1), *pushes, _finish(ALLOW)])
    for number, name in table.judged.items():
        found += _only_for(number, _judged(name))
    found.append(_finish(ALLOW))
    return found


def _judged(name: str) -> list[Instruction]:
    if name in _FLAGS_AT:  # an `O_PATH` descriptor neither reads nor writes
        return [_low(_FLAGS_AT[name]), *_if_any_bit(O_PATH, ALLOW), _finish(USER_NOTIFY)]
    if name == "sendto":  # without an address it goes where `connect` was judged for
        given = _if_any_bit(0xFFFFFFFF, USER_NOTIFY)
        return [_low(_ADDRESS_OF_SENDTO), *given, _high(_ADDRESS_OF_SENDTO), *given, _finish(ALLOW)]
    return [_finish(USER_NOTIFY)]


def assemble(program: list[Instruction]) -> bytes:
    """`struct sock_filter[]`."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
