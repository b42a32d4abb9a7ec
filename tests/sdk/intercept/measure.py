"""What interception costs beside the bare operation: `PYTHONPATH=tests python tests/sdk/intercept/measure.py`."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

ROUNDS = 9


class Lenient:
    """Allows everything and keeps nothing: what is left is the interception itself."""

    agent_id = "measured"
    undo = None
    intercepted = True

    def before(self, *_: Any, **__: Any) -> str:
        return "1"

    def after(self, *_: Any, **__: Any) -> None:
        pass


def nanoseconds(operation: Callable[[], object], times: int) -> float:
    """Median over rounds of the mean time of one operation, the loop's own cost included."""
    means = []
    for _ in range(ROUNDS):
        started = time.perf_counter_ns()
        for _ in range(times):
            operation()
        means.append((time.perf_counter_ns() - started) / times)
    return statistics.median(means)


def measure() -> dict[str, dict[str, float]]:
    """Nanoseconds by operation, then by `bare`, `idle` (installed, no monitor) and `governed`."""
    from vaultak import governor
    from vaultak.intercept import install

    with tempfile.TemporaryDirectory() as directory:
        file, made = os.path.join(directory, "file"), os.path.join(directory, "made")
        open(file, "w").close()
        audit = sys.audit
        operations: dict[str, tuple[Callable[[], object], int]] = {
            "event nobody wants": (lambda: audit("vaultak.measure", 1), 50_000),
            "open and close, reading": (lambda: open(file).close(), 3_000),
            "open and close, writing": (lambda: open(file, "w").close(), 3_000),
            "mkdir and rmdir": (lambda: (os.mkdir(made), os.rmdir(made)), 1_000),
        }
        figures: dict[str, dict[str, float]] = {name: {} for name in operations}
        for state in ("bare", "idle", "governed"):
            if state == "idle":
                install()
            token = governor.activate(Lenient()) if state == "governed" else None  # type: ignore[arg-type]
            for name, (operation, times) in operations.items():
                figures[name][state] = nanoseconds(operation, times)
            if token is not None:
                governor.deactivate(token)
    return figures


if __name__ == "__main__":
    for name, by_state in measure().items():
        print(f"{name:28}", "  ".join(f"{state} {value:9,.0f} ns" for state, value in by_state.items()))
