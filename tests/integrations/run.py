"""Runs the battery with the real frameworks, each in an environment of its own: their requirements do not go together.

python tests/integrations/run.py                    # all, at their current releases
python tests/integrations/run.py langchain mcp -- -k kill
python tests/integrations/run.py --into /var/tmp/frameworks --keep
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "langchain": "test_langchain.py",
    "openai-agents": "test_openai_agents.py",
    "mcp": "test_mcp.py",
    "fastmcp": "test_fastmcp.py",
    "pydantic-ai": "test_pydantic_ai.py",
    "claude-agent-sdk": "test_claude_agent_sdk.py",
    "smolagents": "test_smolagents.py",
    "llama-index": "test_llama_index.py",
    "crewai": "test_crewai.py",
    "google-adk": "test_google_adk.py",
}
"""Extra -> what runs with it."""
ALSO = {"mcp": (["mcp-server-time"], ["mcp_proxy/test_official_client.py"])}
"""Further requirements and tests."""
RUNNER = ["pytest>=8.3", "pytest-asyncio>=1.0", "pytest-timeout>=2.3"]


def requirements(extra: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"][extra], *RUNNER, *ALSO.get(extra, ([], []))[0]]


def build(extra: str, directory: Path) -> Path:
    """An environment with the SDK's requirements and the framework at its newest release; returns its Python."""
    python = directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted, done = "\n".join(requirements(extra)), directory / "requirements.done"
    if done.exists() and done.read_text() == wanted:
        return python
    if uv := shutil.which("uv"):
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(directory)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    else:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *requirements(extra)], check=True)
    done.write_text(wanted)
    return python


def run(extra: str, python: Path, options: list[str]) -> int:
    here = ROOT / "tests" / "integrations"
    # The common fixtures start brokers and need the whole pipeline: none of that is here.
    command = [str(python), "-m", "pytest", "--noconftest", "-q", "-p", "no:cacheprovider"]
    files = [str(here / TESTS[extra]), str(here / "test_examples.py")]
    files += [str(here.parent / test) for test in ALSO.get(extra, ([], []))[1]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "producers")}
    return subprocess.run([*command, *options, *files], cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    arguments = sys.argv[1:]
    options = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("extras", nargs="*", metavar="FRAMEWORK", help=f"of {', '.join(TESTS)}; default: all")
    parser.add_argument("--into", type=Path, help="where the environments go; default: build/integrations")
    parser.add_argument("--keep", action="store_true", help="keep them for the next run")
    given = parser.parse_args(arguments[: len(arguments) - len(options) - ("--" in arguments)])
    if unknown := set(given.extras) - set(TESTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; use {', '.join(TESTS)}")
    into = given.into or ROOT / "build" / "integrations"
    into.mkdir(parents=True, exist_ok=True)
    failed = []
    for extra in given.extras or TESTS:
        start = time.monotonic()
        print(f"== {extra}", flush=True)
        directory = into / extra
        try:
            if run(extra, build(extra, directory), options) != 0:
                failed.append(extra)
        except subprocess.CalledProcessError as e:
            print(f"cannot be installed: {e}", file=sys.stderr)
            failed.append(extra)
        print(f"== {extra}: {time.monotonic() - start:.0f} s", flush=True)
        if not given.keep:
            shutil.rmtree(directory, ignore_errors=True)
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
