"""`vaultak replay`: one verdict per action in order, the same bytes every time, whatever the file holds."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from vaultak.policy import KillSwitchMode, PolicySettings
from vaultak.wire import format_ts
from vaultak_streams import replay as replay_module
from vaultak_streams.recordings import MAX_LINE_BYTES, RecordingError, read_lines
from vaultak_streams.replay import replay

START = 1_772_438_922.5


def event(n: int, **members: Any) -> bytes:
    return json.dumps(
        {
            "schema_version": 1,
            "kind": "action",
            "agent_id": f"bot-{n % 3}",
            "session_id": f"s{n // 10}",
            "ts": format_ts(START + 2 * n),
            "action_id": f"a{n}",
            "action_type": "tool_call",
            "resource": "tool:send_money" if n % 7 == 0 else "tool:read_inbox",
            "payload": {"n": n, "text": "x" * (n % 50)},
            **members,
        }
    ).encode()


def write(path: Path, lines: list[bytes]) -> Path:
    data = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def lines() -> list[bytes]:
    return [event(n) for n in range(300)]


def test_one_verdict_per_action_in_order_after_the_history(tmp_path: Path, lines: list[bytes]) -> None:
    history = write(tmp_path / "history.jsonl.gz", lines[:200])
    test = write(tmp_path / "test.jsonl", lines[200:])
    summary = replay(history, test, tmp_path / "out.jsonl", PolicySettings())
    verdicts = [json.loads(line) for line in (tmp_path / "out.jsonl").open()]
    assert [verdict["action_id"] for verdict in verdicts] == [f"a{n}" for n in range(200, 300)]
    assert all(verdict["scored_ts"] == verdict["ts"] for verdict in verdicts)
    assert verdicts[0]["baseline_events"] > 0
    assert (summary.verdicts, summary.history_events) == (100, 200)
    assert sum(summary.decisions.values()) == 100


def test_the_same_bytes_every_time_and_however_it_is_batched(
    tmp_path: Path, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    test = write(tmp_path / "test.jsonl", lines)
    replay(None, test, tmp_path / "first.jsonl")
    monkeypatch.setattr(replay_module, "BATCH_RECORDS", 7)
    replay(None, test, tmp_path / "second.jsonl")
    assert (tmp_path / "first.jsonl").read_bytes() == (tmp_path / "second.jsonl").read_bytes()


def test_lines_that_are_no_events_are_counted_and_the_others_judged(tmp_path: Path, lines: list[bytes]) -> None:
    bad = [b"{nonsense", b"[]", b"\xff\xff", event(1, action_type="teleport"), b"x" * (MAX_LINE_BYTES + 10)]
    test = write(tmp_path / "test.jsonl", [*bad[:3], *lines[:50], b"", *bad[3:], *lines[50:60]])
    summary = replay(None, test, tmp_path / "out.jsonl")
    assert summary.verdicts == 60
    assert summary.dead_letters == {"invalid": 2, "malformed_json": 2, "too_large": 1}


def test_the_policy_decides(tmp_path: Path, lines: list[bytes]) -> None:
    test = write(tmp_path / "test.jsonl", lines)
    policy = PolicySettings(blocked_resources=("tool:send_money",), mode=KillSwitchMode.KILL)
    summary = replay(None, test, tmp_path / "out.jsonl", policy)
    assert summary.decisions["kill"] >= 43
    assert summary.commands["kill"] <= summary.decisions["kill"]
    assert summary.policy_version == policy.version


def test_a_damaged_file_leaves_no_half_an_output(tmp_path: Path, lines: list[bytes]) -> None:
    test = write(tmp_path / "test.jsonl.gz", lines)
    test.write_bytes(test.read_bytes()[:-40])
    with pytest.raises(RecordingError, match=r"test\.jsonl\.gz"):
        replay(None, test, tmp_path / "out.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.jsonl.gz"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"absent\.jsonl"):
        list(read_lines(tmp_path / "absent.jsonl"))
