"""Each example does what it says: the refund runs, the customer stays, the refund is taken back."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NEEDS = {
    "claude_agent_sdk_agent.py": "claude_agent_sdk",
    "crewai_agent.py": "crewai",
    "fastmcp_server.py": "fastmcp",
    "google_adk_agent.py": "google.adk",
    "langchain_agent.py": "langchain",
    "llama_index_agent.py": "llama_index",
    "mcp_session.py": "mcp.server.mcpserver",
    "openai_agents_agent.py": "agents",
    "pydantic_ai_agent.py": "pydantic_ai",
    "smolagents_agent.py": "smolagents",
}


def installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    if not installed(NEEDS[name]):
        pytest.skip(f"`{NEEDS[name]}` is not installed: see tests/integrations/run.py")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VAULTAK_")}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(EXAMPLES / name)],
        env=environment | {"VAULTAK_DATA_DIR": str(tmp_path), "VAULTAK_BOOTSTRAP_SERVERS": "127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    said = run.stdout.splitlines()
    assert "  the shop refunds A-17" in said
    assert "  the shop cancels the refund of A-17" in said
    assert not [line for line in said if "deletes" in line]
    came_of_it = [line.partition(": ")[2] for line in said if line.startswith("tool:")]
    assert came_of_it == ["allow, ok", "allow, ok", "block, denied"]


def test_every_example_is_tested() -> None:
    parts = {"support.py", "messages_api.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} - parts == set(NEEDS)
