"""The command line: every command explains itself, and a wrong call is one clear line and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    ["up"], ["demo"], ["worker"], ["sink"], ["replay"], ["ingest"], ["agents"], ["pause"], ["resume"], ["kill"],
    ["rollback"], ["approve"], ["deny"], ["audit"], ["audit", "query"], ["doctor"], ["bench"],
]  # fmt: skip
NOWHERE = {
    "VAULTAK_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "VAULTAK_CLICKHOUSE_DSN": "clickhouse://u:secret-pw@127.0.0.1:1/v",
}


def vaultak(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vaultak", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("VAULTAK_")}, **env},
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    shown = vaultak(*command, "--help")
    assert shown.returncode == 0
    assert "Usage: vaultak" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["fly"], "fly"),
        (["replay", "--input", "/nowhere.jsonl", "--output", "/tmp/v"], "/nowhere.jsonl"),
        (["pause"], "agent"),
        (["audit", "query", "--min-risk", "7"], "--min-risk"),
        (["worker", "-n", "0"], "-n"),
        (["up", "--broker", "pigeon"], "pigeon"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(arguments: list[str], names: str, tmp_path: Path) -> None:
    result = vaultak(*arguments, VAULTAK_DATA_DIR=str(tmp_path))
    assert result.returncode == 2, result.stderr
    assert names in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VAULTAK_BOOTSTRAP_SERVERS", "no-port-here"),
        ("VAULTAK_TOPIC_PREFIX", "white space"),
        ("VAULTAK_POLICY", "/no/such/policy.toml"),
        ("VAULTAK_CLICKHOUSE_DSN", "ftp://somewhere"),
        ("KAFKA_SECURITY_PROTOCOL", "CARRIER_PIGEON"),
    ],
)
def test_a_wrong_setting_names_the_variable_and_the_fix(variable: str, value: str, tmp_path: Path) -> None:
    result = vaultak("agents", **{"VAULTAK_DATA_DIR": str(tmp_path), variable: value})
    assert result.returncode == 2, result.stderr
    assert variable in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_doctor_says_what_is_away_and_what_to_do(tmp_path: Path) -> None:
    result = vaultak("doctor", "--json", VAULTAK_DATA_DIR=str(tmp_path), **NOWHERE)
    findings = {finding["subject"]: finding for finding in json.loads(result.stdout)}
    assert result.returncode == 1
    assert findings["broker"]["grade"] == findings["clickhouse"]["grade"] == "fail"
    assert "vaultak up" in findings["broker"]["fix"]
    assert "secret-pw" not in result.stdout + result.stderr


def test_operating_without_a_broker_is_one_clear_line(tmp_path: Path) -> None:
    result = vaultak("pause", "some-agent", VAULTAK_DATA_DIR=str(tmp_path), **NOWHERE)
    assert result.returncode == 1
    assert "127.0.0.1:1" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_audit_without_a_store_says_which_variable(tmp_path: Path) -> None:
    result = vaultak("audit", "query", VAULTAK_DATA_DIR=str(tmp_path))
    assert result.returncode == 2
    assert "VAULTAK_CLICKHOUSE_DSN" in result.stderr
