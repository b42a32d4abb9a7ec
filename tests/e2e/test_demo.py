"""`vaultak demo` exits 0 only when the harm was stopped and undone, and the audit shows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@pytest.mark.timeout(170)
def test_the_demo_stops_and_undoes_the_harm_and_says_so(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("VAULTAK_")}
    broker = "kafka" if os.environ.get("VAULTAK_TEST_BROKER") == "kafka" else "embedded"
    command = [sys.executable, "-m", "vaultak", "demo", "--json", "--broker", broker, "--keep", str(tmp_path / "demo")]
    played = subprocess.run(command, env=env, capture_output=True, text=True, timeout=160)
    assert played.returncode == 0, played.stderr
    account = json.loads(played.stdout)
    assert account["differing"] == []
    assert account["restored"] == 40
    assert account["verdict"]["risk"] >= 0.7
    assert account["response"]["result"] == "applied"
    assert account["emit_to_applied_ms"] > 0
    assert "AgentKilledError" in account["killed"]
    assert [row for row in account["trail"] if row["outcome_status"] == "denied" and row["resource"].endswith(".env")]
