"""The console as a process: says where it is, serves, and ends when asked, whoever is watching."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from console.conftest import NOWHERE, TOKEN


@pytest.fixture
def env(recorded_dsn: str, tmp_path: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("VAULTAK_")},
        "VAULTAK_CLICKHOUSE_DSN": recorded_dsn, "VAULTAK_BOOTSTRAP_SERVERS": NOWHERE,
        "VAULTAK_DATA_DIR": str(tmp_path / "data"), "VAULTAK_CONSOLE_TOKEN": TOKEN,
    }  # fmt: skip


@pytest.fixture
def served(env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "vaultak", "console", "--port", "0"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"(http://127\.0\.0\.1:\d+)/login\?token=", process.stdout.readline())
    assert found
    yield process, found[1]
    process.kill()
    process.wait()


@pytest.mark.stack
def test_what_it_prints_leads_in_and_a_watcher_does_not_keep_it(served: tuple[subprocess.Popen[str], str]) -> None:
    process, at = served
    with httpx.Client(base_url=at, follow_redirects=True, timeout=20) as client:
        assert "billing-bot" in client.get(f"/login?token={TOKEN}").text
        with client.stream("GET", "/live") as events:
            lines = events.iter_lines()
            assert any(line == "event: fleet" for line in lines)
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) in (0, -signal.SIGTERM)


@pytest.mark.stack
def test_an_address_that_is_taken_is_one_line(served: tuple[subprocess.Popen[str], str], env: dict[str, str]) -> None:
    port = served[1].rsplit(":", 1)[1]
    second = subprocess.run(
        [sys.executable, "-m", "vaultak", "console", "--port", port],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 2
    assert len(second.stderr.strip().splitlines()) == 1
    assert port in second.stderr


@pytest.mark.parametrize(
    ("arguments", "names"),
    [(["--host", "0.0.0.0"], "ALLOWED_HOSTS"), (["--port", "70000"], "port"), (["--users", "/nowhere"], "/nowhere"),
     (["--add-user", "ana"], "--users"), ([], "VAULTAK_CLICKHOUSE_DSN")],
)  # fmt: skip
def test_a_wrong_call_is_one_line_and_exit_code_2(arguments: list[str], names: str, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("VAULTAK_")}
    result = subprocess.run(
        [sys.executable, "-m", "vaultak", "console", *arguments],
        env={**env, "VAULTAK_DATA_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert names in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
