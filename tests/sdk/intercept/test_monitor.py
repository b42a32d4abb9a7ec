"""Interception through the public surface: a real monitor, its policy and its audit trail."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

vaultak = pytest.importorskip("vaultak", reason="needs the SDK")
if not hasattr(vaultak, "Vaultak"):
    pytest.skip("the public client is not part of this checkout", allow_module_level=True)


def test_a_blocked_file_is_untouched_and_an_allowed_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("VAULTAK_BOOTSTRAP_SERVERS", nobody)
    monkeypatch.setenv("VAULTAK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("VAULTAK_SPOOL_DIR", raising=False)
    (tmp_path / "prod.env").write_text("SECRET=1")
    vt = vaultak.Vaultak(blocked_resources=["*.env"], mode=vaultak.KillSwitchMode.BLOCK, max_risk_score=1.0)
    with vt.monitor("agent-under-test"):
        (tmp_path / "report.txt").write_text("fine")
        for attempt in (lambda: os.remove(tmp_path / "prod.env"), lambda: (tmp_path / "prod.env").read_text()):
            with pytest.raises(vaultak.ActionBlockedError):
                attempt()
    assert (tmp_path / "prod.env").read_text() == "SECRET=1"
    assert (tmp_path / "report.txt").read_text() == "fine"
