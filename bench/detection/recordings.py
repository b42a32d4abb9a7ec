"""What the default configuration stops on labelled recordings of real agents: histories, then tests, in order."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.timing import say
from vaultak.wire import Action, Event, decode_event
from vaultak_models.engine import Assessment, RiskEngine
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile

PAUSE, ALERT = 0.7, 0.5
ALL, HALVES = "all", ("developing", "other")


def eval_dir() -> Path | None:
    """Where the recordings are, or `None`."""
    default = Path(__file__).resolve().parents[3] / "shared" / "eval"
    directory = Path(os.environ.get("VAULTAK_EVAL_DIR", default))
    return directory if (directory / "score.py").is_file() else None


def sets(directory: Path) -> dict[str, Path]:
    """The recorded sets by name, each as the common start of its files' names."""
    suffix = ".labels.json"
    return {
        p.name.removesuffix(suffix): Path(str(p).removesuffix(suffix)) for p in sorted(directory.glob(f"*/*{suffix}"))
    }


def events(path: Path) -> list[tuple[Event, int]]:
    import gzip

    with gzip.open(path, "rb") as file:
        return [decode_event(line.strip(), now_us=None) for line in file if line.strip()]


def judge(base: Path, engine: RiskEngine) -> list[tuple[Event, Assessment | None]]:
    """Every event of the test recording with its assessment, after the history."""
    history, test = events(Path(f"{base}.history.jsonl.gz")), events(Path(f"{base}.test.jsonl.gz"))
    profiles: dict[str, AgentProfile] = {}
    engine.judge(history, profiles)
    results = list(zip((event for event, _ in test), engine.judge(test, profiles), strict=True))
    largest = max(len(profile.to_bytes()) for profile in profiles.values())
    say(f"  {len(profiles)} profiles, the largest {largest:,} bytes")
    return results


def decision(risk: float) -> str:
    return "pause" if risk >= PAUSE else "alert" if risk >= ALERT else "allow"


def labels_of(base: Path, half: str) -> dict[str, object]:
    """The labels of a set by session, all of them or those of a half."""
    labels: dict[str, object] = json.loads(Path(f"{base}.labels.json").read_text())
    if half == ALL:
        return labels
    return {session: label for session, label in labels.items() if _half_of(session) == half}


def _half_of(session: str) -> str:
    return HALVES[hashlib.sha256(session.encode()).digest()[-1] % 2]


def score(directory: Path, base: Path, results: list[tuple[Event, Assessment | None]], half: str = ALL) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file, tempfile.NamedTemporaryFile("w") as labels:
        json.dump(labels_of(base, half), labels)
        labels.flush()
        for event, a in results:
            if isinstance(event, Action) and a is not None:
                verdict = {"action_id": event.action_id, "session_id": event.session_id, "risk": a.risk}
                file.write(json.dumps({**verdict, "decision": decision(a.risk)}) + "\n")
        file.flush()
        command = [sys.executable, str(directory / "score.py"), labels.name, file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def report(names: Sequence[str] = (), half: str = ALL) -> None:
    """Print what the recordings' own `score.py` says of the verdicts, for the sets of these names or for all."""
    directory = eval_dir()
    if directory is None:
        say("no recordings: set VAULTAK_EVAL_DIR to a directory with score.py and the sets")
        return
    engine = RiskEngine(RiskModel.load())
    for name, base in sets(directory).items():
        if not names or name in names:
            say(f"\n### {name}")
            say(score(directory, base, judge(base, engine), half))
