"""Without the compiled core everything holds as it does with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaultak._native import core

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(320)
@pytest.mark.skipif(core is None, reason="this run is without it already")
def test_every_test_of_interception_passes_in_pure_python() -> None:
    files = [str(path) for path in HERE.glob("test_*.py") if path != Path(__file__)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, str(HERE.parent / "test_events.py")],
        cwd=HERE.parents[2],
        env=os.environ | {"VAULTAK_PURE_PYTHON": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
