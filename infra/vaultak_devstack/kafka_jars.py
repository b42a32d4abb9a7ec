"""Apache Kafka's jars and the JVM for them: found, or fetched once by Maven from the pinned `infra/kafka/pom.xml`."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from vaultak.config import Settings
from vaultak_devstack.errors import UnavailableError
from vaultak_devstack.resources import infra_path

MIN_JAVA = 17
MAVEN_TIMEOUT_S = 600.0


def available() -> str | None:
    """Why Apache Kafka cannot run here, in one line; None when it can. Fetches nothing."""
    try:
        java()
        if not jars_dir().is_dir() and shutil.which("mvn") is None:
            return "Maven (`mvn`) is not on PATH, and Apache Kafka's jars have not been fetched yet"
    except (UnavailableError, FileNotFoundError) as e:
        return str(e)
    return None


def java() -> str:
    """The path of a JVM that is new enough: of JAVA_HOME, else on PATH. Raises `UnavailableError`."""
    home = os.environ.get("JAVA_HOME", "").strip()
    program = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if program is None or not os.access(program, os.X_OK):
        raise UnavailableError(f"no JVM: install Java {MIN_JAVA} or newer, or set JAVA_HOME")
    version = _java_version(program)
    if version < MIN_JAVA:
        raise UnavailableError(f"`{program}` is Java {version}: Apache Kafka needs {MIN_JAVA} or newer")
    return program


def _java_version(program: str) -> int:
    """The feature release (8, 17, 21, ...); 0 when it does not say."""
    try:
        told = subprocess.run(  # noqa: S603 - a JVM that the user's PATH or JAVA_HOME names
            [program, "-version"], capture_output=True, text=True, timeout=30, check=False
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found.group(1)) if found else 0


def jars_dir() -> Path:
    """Where the jars are, once fetched: in the user's cache, for all checkouts. Another pom has another folder."""
    digest = hashlib.sha256(infra_path("kafka/pom.xml").read_bytes()).hexdigest()[:12]
    if cache := os.environ.get("XDG_CACHE_HOME", "").strip():
        base = Path(cache)
    elif home := os.environ.get("HOME", "").strip():
        base = Path(home) / ".cache"
    else:
        base = Settings.from_env().data_dir
    return base / "vaultak" / f"kafka-jars-{digest}"


def ensure_jars() -> Path:
    """The folder of jars, fetched if need be (a minute at most). Raises `UnavailableError`.

    Of several processes that fetch at once, one's result stays; a half-fetched folder is never seen.
    """
    target = jars_dir()
    if target.is_dir():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise UnavailableError("Maven (`mvn`) is not on PATH: it is needed once, to fetch Apache Kafka's jars")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".jars-") as scratch:
        fetched = Path(scratch) / "jars"
        _fetch(maven, fetched, Path(scratch))
        try:
            fetched.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    return target


def _fetch(maven: str, into: Path, scratch: Path) -> None:
    pom = Path(shutil.copy(infra_path("kafka/pom.xml"), scratch / "pom.xml"))
    command = [
        maven,
        "--batch-mode",
        "--quiet",
        "--strict-checksums",
        "--file",
        str(pom),
        "dependency:copy-dependencies",
    ]
    try:
        result = subprocess.run(  # noqa: S603 - Maven from PATH, our own pom
            [*command, "-DincludeScope=runtime", f"-DoutputDirectory={into}"],
            capture_output=True,
            text=True,
            timeout=MAVEN_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"Maven did not fetch Apache Kafka within {MAVEN_TIMEOUT_S:.0f} s; try again") from None
    if result.returncode != 0 or not any(into.glob("kafka-clients-*.jar")):
        raise UnavailableError(f"Maven could not fetch Apache Kafka: {_complaint(result.stdout, result.returncode)}")


def _complaint(output: str, code: int) -> str:
    """Maven's own words, without its tags and colours; headings end with a colon and say nothing."""
    plain = re.sub(r"\x1b\[[0-9;]*m|\[(?:ERROR|FATAL)\]", "", output)
    lines = [line.strip() for line in plain.splitlines() if line.strip() and not line.rstrip().endswith(":")]
    return lines[0][:300] if lines else f"exit code {code}"
