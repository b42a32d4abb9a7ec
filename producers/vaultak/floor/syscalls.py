"""System calls by number, and what the floor does with each. Data alone.

Numbers are from the kernel's tables (`arch/x86/entry/syscalls/syscall_64.tbl`, `include/uapi/asm-generic/unistd.h`);
they never change. A call that an architecture has not is `-1`.
"""

from __future__ import annotations

import platform
from typing import NamedTuple

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""What `seccomp_data.arch` holds, by `platform.machine()`."""

X32_BIT = 0x40000000
"""Set in the number of a call of x86_64's second, 32-bit ABI."""

_X86, _ARM = range(2)

# name: (x86_64, aarch64)
JUDGED: dict[str, tuple[int, int]] = {
    "open": (2, -1),
    "creat": (85, -1),
    "openat": (257, 56),
    "openat2": (437, 437),
    "unlink": (87, -1),
    "unlinkat": (263, 35),
    "rmdir": (84, -1),
    "rename": (82, -1),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, -1),
    "linkat": (265, 37),
    "symlink": (88, -1),
    "symlinkat": (266, 36),
    "mkdir": (83, -1),
    "mkdirat": (258, 34),
    "mknod": (133, -1),
    "mknodat": (259, 33),
    "truncate": (76, 45),
    "chmod": (90, -1),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, -1),
    "lchown": (94, -1),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, -1),
    "utimes": (235, -1),
    "futimesat": (261, -1),
    "utimensat": (280, 88),
    "connect": (42, 203),
    "bind": (49, 200),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "execve": (59, 221),
    "execveat": (322, 281),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
"""Handed to the supervisor."""

REFUSED: dict[str, tuple[int, int]] = {
    "ptrace": (101, 117),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "uselib": (134, -1),
}
"""Never allowed: they change other processes, the file tree that names are looked up in, or the kernel (EPERM)."""

ABSENT: dict[str, tuple[int, int]] = {
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "clone3": (435, 435),
    "landlock_create_ruleset": (444, 444),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
"""As in a kernel that is older than they are (ENOSYS): programs fall back to what can be judged.

io_uring makes system calls that no filter sees; the flags of clone3 are in memory, which a filter cannot read; a
Landlock sandbox would not bind what the supervisor opens on its program's behalf.
"""

CLONE = {"clone": (56, 220)}
NEW_NAMESPACES = 0x7E020000
"""`CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET`: refused in `clone`. A new user or
mount namespace changes what a name means."""

TIOCSTI = 0x5412
TIOCLINUX = 0x541C
IOCTL = {"ioctl": (16, 29)}
"""Pushing characters into a terminal has its shell, outside the floor, execute them: `TIOCSTI`, `TIOCLINUX` EPERM."""

SECCOMP = {"seccomp": (317, 277)}


class Table(NamedTuple):
    """One architecture's numbers."""

    audit_arch: int
    judged: dict[int, str]
    refused: tuple[int, ...]
    absent: tuple[int, ...]
    clone: int
    ioctl: int
    x32: bool
    number: dict[str, int]


def table(machine: str | None = None) -> Table | None:
    """The table of `machine` (default: this one's); `None` where the floor is not known to work."""
    machine = machine or platform.machine()
    if machine not in AUDIT_ARCH:
        return None
    column = _X86 if machine == "x86_64" else _ARM
    numbers = {name: row[column] for name, row in {**JUDGED, **REFUSED, **ABSENT, **CLONE, **IOCTL, **SECCOMP}.items()}
    return Table(
        audit_arch=AUDIT_ARCH[machine],
        judged={numbers[name]: name for name in JUDGED if numbers[name] >= 0},
        refused=tuple(numbers[name] for name in REFUSED if numbers[name] >= 0),
        absent=tuple(numbers[name] for name in ABSENT if numbers[name] >= 0),
        clone=numbers["clone"],
        ioctl=numbers["ioctl"],
        x32=machine == "x86_64",
        number=numbers,
    )
