"""How every benchmark measures and prints: medians and percentiles, the baseline beside it in the same run."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """Timings of one operation, in microseconds, sorted."""

    name: str
    values_us: Sequence[float]

    def percentile(self, p: float) -> float:
        return self.values_us[min(len(self.values_us) - 1, int(len(self.values_us) * p / 100))]

    @property
    def median(self) -> float:
        return self.percentile(50)


def time_each(name: str, operation: Callable[[], object], n: int, *, warmup: int = 200) -> Sample:
    """Time `n` calls one by one; for operations of a microsecond and up."""
    clock = time.perf_counter_ns
    for _ in range(warmup):
        operation()
    values = []
    gc.disable()
    try:
        for _ in range(n):
            start = clock()
            operation()
            values.append((clock() - start) / 1000)
    finally:
        gc.enable()
    return Sample(name, sorted(values))


def time_loop(name: str, operation: Callable[[], object], n: int, *, repeats: int = 9) -> Sample:
    """Time loops of `n` calls; for operations too short to time one by one."""
    values = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        for _ in range(n):
            operation()
        values.append((time.perf_counter_ns() - start) / 1000 / n)
    return Sample(name, sorted(values))


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table, so that docs can quote it as it is."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(column), *(len(row[i]) for row in cells)) for i, column in enumerate(header)]
    say(f"\n### {title}\n")
    say("| " + " | ".join(h.ljust(w) for h, w in zip(header, widths, strict=True)) + " |")
    say("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    for row in cells:
        say("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |")


def compare(title: str, samples: Sequence[Sample], *, baseline: str) -> None:
    """Percentiles of several operations, and their medians as a ratio to the baseline's."""
    base = next(s for s in samples if s.name == baseline).median
    table(
        title,
        ["operation", "p50 us", "p95 us", "p99 us", "x baseline"],
        [[s.name, s.median, s.percentile(95), s.percentile(99), f"{s.median / base:.2f}"] for s in samples],
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def processor_s(pids: Iterable[int]) -> float:
    """User and system time of these processes so far, in seconds (Linux)."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
