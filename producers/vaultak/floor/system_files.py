"""Files that programs read to be able to run: their reads are judged by the blocked resources, and not recorded."""

from __future__ import annotations

import os
import sys

from vaultak.floor.tracee import Tracee
from vaultak.intercept.trust import LIBRARY_ROOTS

INERT = frozenset({
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts/ptmx",
})  # fmt: skip
"""Devices that keep nothing: opening them is no action."""
INERT_PREFIX = "/dev/pts/"

_PREFIXES = (
    "/usr/lib/", "/usr/lib64/", "/usr/lib32/", "/usr/libexec/", "/usr/local/lib/", "/lib/", "/lib64/",
    "/usr/share/", "/usr/local/share/", "/etc/ld.so.", "/etc/localtime", "/etc/locale", "/etc/timezone",
    "/etc/nsswitch.conf", "/etc/host.conf", "/etc/hosts", "/etc/resolv.conf", "/etc/gai.conf", "/etc/services",
    "/etc/protocols", "/etc/mime.types", "/etc/ssl/certs/", "/etc/ssl/openssl.cnf", "/etc/ca-certificates",
    "/etc/inputrc", "/etc/terminfo/", "/sys/devices/system/", "/sys/fs/cgroup/", "/sys/kernel/mm/",
    "/proc/sys/", "/proc/filesystems", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/uptime", "/proc/version",
    "/proc/loadavg", os.path.join(os.path.realpath(sys.base_prefix), "lib", ""), *LIBRARY_ROOTS,
)  # fmt: skip


def is_system_read(path: str, tracee: Tracee) -> bool:
    """Whether reading `path` is upkeep for a process, whose own `/proc` directory counts too."""
    return path.startswith(_PREFIXES) or (path.startswith("/proc/") and path.startswith(f"/proc/{tracee.process}/"))


def is_inert(path: str) -> bool:
    return path in INERT or path.startswith(INERT_PREFIX)
