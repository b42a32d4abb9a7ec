"""What a system call costs under the floor beside the bare one: judged, recorded, done and answered elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.timing import Sample, compare, say
from vaultak import Vaultak
from vaultak.config import Settings
from vaultak.floor import reason_unavailable, run_under_floor
from vaultak.policy import PolicySettings

RULES = 200
_WORK = """
import json, os, subprocess, sys, time
def timed(operation, n):
    found = []
    for _ in range(n):
        start = time.perf_counter_ns()
        operation()
        found.append((time.perf_counter_ns() - start) / 1000)
    return sorted(found[n // 10:])
def read(path):
    return lambda: os.close(os.open(path, os.O_RDONLY))
def write():
    os.close(os.open("out", os.O_WRONLY | os.O_CREAT))
def directory():
    os.mkdir("d"); os.rmdir("d")
open("data", "w").close()
found = {
    "getppid, not judged": timed(os.getppid, 2000),
    "open a library, not recorded": timed(read("/usr/lib/os-release"), 2000),
    "open to read": timed(read("data"), 2000),
    "open to write": timed(write, 1000),
    "mkdir and rmdir": timed(directory, 500),
    "start /bin/true": timed(lambda: subprocess.run(["/bin/true"]), 60),
}
with open("timings", "w") as out:
    json.dump(found, out)
"""

Runner = Callable[[list[str]], int]


def main() -> None:
    if reason := reason_unavailable():
        say(f"skipped: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="vaultak-bench-") as name:
        bare = _timings(lambda argv: subprocess.run(argv).returncode, Path(name) / "bare")
        floor = _timings(_under_floor(Path(name) / "state"), Path(name) / "floor")
        for operation in bare:
            samples = [Sample("bare", bare[operation]), Sample("under the floor", floor[operation])]
            compare(f"floor: {operation}", samples, baseline="bare")
    say(f"\n{RULES} rules; events spooled durably; pre-images kept for rollback.")


def _timings(run: Runner, directory: Path) -> dict[str, list[float]]:
    directory.mkdir()
    before = Path.cwd()
    os.chdir(directory)
    try:
        code = run([os.path.realpath(sys.executable), "-I", "-S", "-c", _WORK])
    finally:
        os.chdir(before)
    if code != 0:
        raise RuntimeError(f"the measured program ended with {code}")
    found: dict[str, list[float]] = json.loads((directory / "timings").read_text())
    return found


def _under_floor(state: Path) -> Runner:
    settings = Settings.from_env({"VAULTAK_DATA_DIR": str(state), "VAULTAK_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    policy = PolicySettings(blocked_resources=tuple(_patterns()), max_risk_score=1.0)
    client = Vaultak(settings=settings, policy=policy)
    return lambda argv: run_under_floor(argv, client=client, agent_id="bench")


def _patterns() -> Iterator[str]:
    for n in range(RULES // 2):
        yield f"/srv/secret-{n}/*"
        yield f"*.private{n}"
