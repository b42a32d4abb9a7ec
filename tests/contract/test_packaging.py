"""What `pip install vaultak` brings: everything it needs, and nothing heavy without the extra."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"numpy", "scikit-learn", "faust-streaming", "chdb-core", "clickhouse-connect", "structlog", "typer", "rich"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    target = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_the_wheel_has_every_module_of_the_checkout(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for root, package in [
        ("producers", "vaultak"),
        ("models", "vaultak_models"),
        ("stream_jobs", "vaultak_streams"),
        ("infra", "vaultak_devstack"),
    ]:
        modules = {str(path.relative_to(ROOT / root)) for path in (ROOT / root / package).rglob("*.py")}
        assert modules
        assert modules <= names
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


@pytest.mark.parametrize("folder", ["clickhouse/migrations", "kafka/topics.yaml", "schemas", "asyncapi.yaml"])
def test_the_wheel_has_what_infra_deploys(wheel: zipfile.ZipFile, folder: str) -> None:
    assert [name for name in wheel.namelist() if name.startswith(f"vaultak_devstack/_infra/{folder}")]


def test_the_wheel_has_the_shipped_model(wheel: zipfile.ZipFile) -> None:
    shipped = [Path(name).suffix for name in wheel.namelist() if name.startswith("vaultak_models/shipped/")]
    assert {".npz", ".json"} <= set(shipped)


def test_a_wheel_with_the_compiled_core_says_which_platform_it_is_for(wheel: zipfile.ZipFile) -> None:
    compiled = [name for name in wheel.namelist() if name.startswith("vaultak/_native/_core.") and name[-2:] != ".c"]
    assert ("py3-none-any" in Path(wheel.filename or "").name) == (not compiled)


def test_without_a_compiler_the_wheel_is_pure_python(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, env=os.environ | {"CC": "/nonexistent/cc"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "without the compiled core" in done.stderr
    (built,) = tmp_path.glob("*.whl")
    assert built.name.endswith("py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(built).namelist() if name.endswith((".so", ".pyd"))]


def test_the_light_sdk_requires_nothing_heavy(wheel: zipfile.ZipFile) -> None:
    metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    requirements = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist") or []
    light = [r for r in requirements if "extra ==" not in r]
    assert light
    assert [r for r in light if any(r.lower().startswith(name) for name in HEAVY)] == []


def test_importing_the_sdk_loads_no_kafka_client_and_nothing_heavy() -> None:
    modules = ["aiokafka", "cryptography", "numpy", "sklearn", "faust", "chdb", "clickhouse_connect", "structlog"]
    code = f"import sys, vaultak; vaultak.Vaultak; print([m for m in {modules!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_no_loose_module_lies_in_a_source_root() -> None:
    assert [p for root in ("producers", "models", "stream_jobs", "infra") for p in (ROOT / root).glob("*.py")] == []


def test_the_lock_file_pins_every_requirement_by_hash() -> None:
    text = (ROOT / "requirements" / "lock.txt").read_text()
    pinned = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert pinned
    assert all("==" in line for line in pinned)
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text, "the lock file names a host"
