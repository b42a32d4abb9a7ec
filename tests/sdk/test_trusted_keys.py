"""Keys that come and go while an agent runs, and commands that come too late."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultak.config import Settings
from vaultak.control import ControlListener, key_id_of, sign
from vaultak.control.signatures import TrustStore
from vaultak.testing import RecordingPublisher
from vaultak.wire import AckResult, Command, CommandType, decode_ack, format_ts, uuid7


def command(key: Ed25519PrivateKey, *, lives_s: float = 60.0) -> Command:
    now_s = time.time()
    unsigned = Command(
        command_id=uuid7(),
        agent_id="bot",
        command=CommandType.PAUSE,
        ts=format_ts(now_s - 120),
        expires_at=format_ts(now_s + lives_s),
        issued_by="operator",
        epoch=1,
    )
    return sign(unsigned, key)


def trust(directory: Path, key: Ed25519PrivateKey) -> Path:
    public = key.public_key().public_bytes_raw()
    path = directory / "trusted" / f"{key_id_of(public)}.pub"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(public.hex())
    os.utime(path.parent)
    return path


def test_a_new_key_counts_and_an_old_one_that_was_taken_out_does_not(tmp_path: Path) -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    file = trust(tmp_path, old)
    store = TrustStore(tmp_path)
    assert store.verify(command(old)) == ""
    assert "not trusted" in store.verify(command(new))
    trust(tmp_path, new)
    assert store.verify(command(new)) == store.verify(command(old)) == ""
    file.unlink()
    os.utime(file.parent)
    assert "not trusted" in store.verify(command(old))
    assert store.verify(command(new)) == ""


def test_a_command_that_has_expired_is_refused_and_said(tmp_path: Path) -> None:
    key, obeyed, publisher = Ed25519PrivateKey.generate(), [], RecordingPublisher()
    trust(tmp_path / "keys", key)

    def obey(ordered: Command) -> tuple[AckResult, str]:
        obeyed.append(ordered)
        return AckResult.APPLIED, ""

    settings = Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path)})
    listener = ControlListener(settings, "bot", "i-1", obey, lambda _record: None, publisher)
    late, timely = command(key, lives_s=-30), command(key)
    for ordered in (late, timely, timely):
        listener.command(ordered)
    assert obeyed == [timely]
    answers = [decode_ack(value) for topic, _, value, _ in publisher.messages if topic == settings.topics.acks]
    assert [(a.command_id, a.result) for a in answers] == [
        (late.command_id, AckResult.REJECTED),
        (timely.command_id, AckResult.APPLIED),
    ]
