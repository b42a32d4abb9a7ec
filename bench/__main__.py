"""`python -m bench [NAME ...]`: runs the benchmarks `bench/bench_<name>.py`, all of them by default.

Each has a `main()` that prints its tables. The figures in `docs/benchmarks.md` come from here.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from pathlib import Path

from bench.timing import say

NAMES = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main(names: list[str]) -> int:
    if unknown := [name for name in names if name not in NAMES]:
        say(f"no benchmark `{unknown[0]}`; there are: {', '.join(NAMES)}")
        return 2
    say(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}")
    for name in names or NAMES:
        say(f"\n## {name}")
        importlib.import_module(f"bench.bench_{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
