"""What interception costs beside the bare operation, with the compiled core and without it.

Each way runs in a process of its own: the hook cannot be removed once it is there.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.timing import Sample, compare, say, time_each, time_loop
from vaultak._native import core

N = 4000
PATTERNS = 200
IMPORTED = "sklearn.ensemble"
"""A large library with numpy and scipy beneath it: some 900 modules."""
IMPORTS = 7
_WAYS: dict[str, dict[str, str]] = {"compiled": {}, "pure Python": {"VAULTAK_PURE_PYTHON": "1"}}


def main() -> None:
    figures: dict[str, dict[str, Sample]] = {}
    for way, environment in _WAYS.items():
        if way == "compiled" and core is None:
            say("the compiled core could not be built here: pure Python only")
            continue
        figures[way] = _in_child("--child", environment)
    some = next(iter(figures.values()))
    for kind in ("event", "open()", "os.open()"):
        bare = f"{kind}, bare"
        rows = [Sample(bare, some[bare].values_us)]
        for way, samples in figures.items():
            rows += [
                Sample(f"{name}, {way}", sample.values_us)
                for name, sample in samples.items()
                if name.startswith(f"{kind},") and name != bare
            ]
        compare(f"interception: {kind}", rows, baseline=bare)
    compare(f"importing {IMPORTED}", list(_imports()), baseline="bare")


def _in_child(argument: str, environment: dict[str, str]) -> dict[str, Sample]:
    with tempfile.TemporaryDirectory() as data:
        done = subprocess.run(
            [sys.executable, "-m", "bench.bench_intercept", argument],
            env=os.environ | {"VAULTAK_DATA_DIR": data, "PYTHONDONTWRITEBYTECODE": ""} | environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    return {name: Sample(name, values) for name, values in json.loads(done.stdout.splitlines()[-1]).items()}


def _imports() -> Iterator[Sample]:
    ways = {"bare": "", "hook installed, outside every monitor": "install", "in a monitor": "monitor"}
    values: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as compiled:
        _in_child("--import=", {"PYTHONPYCACHEPREFIX": compiled})
        for _ in range(IMPORTS):
            for name, argument in ways.items():
                sample = _in_child(f"--import={argument}", {"PYTHONPYCACHEPREFIX": compiled})["import"]
                values[name] += sample.values_us
    for name in ways:
        yield Sample(name, sorted(values[name]))


# -- in the child ----------------------------------------------------------------------------------------------


def _measure() -> Iterator[Sample]:
    from bench.bench_sdk import patterns
    from vaultak import Vaultak
    from vaultak.intercept import install

    audit = sys.audit
    with tempfile.TemporaryDirectory() as directory:
        operations = _operations(Path(directory))

        def each(state: str) -> Iterator[Sample]:
            for kind, operation in operations.items():
                yield time_each(f"{kind}, {state}", operation, N)

        yield time_loop("event, bare", lambda: audit("vaultak.bench", 1), N)
        yield from each("bare")
        install()
        yield time_loop("event, nobody wants it", lambda: audit("vaultak.bench", 1), N)
        yield from each("outside every monitor")
        with Vaultak(blocked_resources=patterns(PATTERNS), rollback_limit=0) as vt, vt.monitor("bench"):
            yield from each(f"allowed, {PATTERNS} patterns, both events in the spool")


def _operations(directory: Path) -> dict[str, Callable[[], object]]:
    path = str(directory / "file.txt")
    Path(path).write_text("x")

    def read() -> None:
        with open(path) as file:
            file.read()

    return {"open()": read, "os.open()": lambda: os.close(os.open(path, os.O_RDONLY))}


def _import(way: str) -> Iterator[Sample]:
    if way:
        from vaultak import Vaultak
        from vaultak.intercept import install

        install()
        if way == "monitor":
            Vaultak(rollback_limit=0).monitor("bench").__enter__()
    started = time.perf_counter_ns()
    __import__(IMPORTED)
    yield Sample("import", [(time.perf_counter_ns() - started) / 1000])


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    measured = _measure() if sys.argv[1] == "--child" else _import(sys.argv[1].partition("=")[2])
    sys.stdout.write(json.dumps({sample.name: list(sample.values_us) for sample in measured}) + "\n")
    sys.stdout.flush()
    os._exit(0)  # nothing is delivered here: there is no broker to wait for
