"""The floor: an agent's policy enforced on system calls, whatever language they are made from. Linux only.

A seccomp filter stops every call that opens, changes, connects, starts or signals; a supervisor, a process of its
own, judges each by the agent's policy, acts on what it judged, and answers. Unprivileged. It fails closed: without
its supervisor every stopped call fails.
"""

from __future__ import annotations

from vaultak.floor.launch import run_under_floor

__all__ = ["reason_unavailable", "run_under_floor"]


def reason_unavailable() -> str:
    """Why this machine has no floor; empty where it has one."""
    import sys

    if sys.platform != "linux":
        return "the floor needs Linux"
    from vaultak.floor import kernel

    return kernel.reason_unavailable()
