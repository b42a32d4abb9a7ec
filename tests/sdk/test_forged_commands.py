"""A forged copy of a command, come first, does not keep the genuine one from being obeyed."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from vaultak.config import Settings
from vaultak.control import ControlListener
from vaultak.testing import RecordingPublisher
from vaultak.wire import AckResult, Command, CommandType, decode_ack, format_ts, uuid7
from vaultak_devstack.keys import command_signer


def test_a_forged_copy_does_not_use_up_the_id_of_the_genuine_command(tmp_path: Path) -> None:
    sign = command_signer(tmp_path)
    obeyed: list[Command] = []
    publisher = RecordingPublisher()

    def obey(command: Command) -> tuple[AckResult, str]:
        obeyed.append(command)
        return AckResult.APPLIED, ""

    settings = Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path)})
    listener = ControlListener(settings, "bot", "i-1", obey, lambda _record: None, publisher)
    now_s = time.time()
    genuine = sign(
        Command(
            command_id=uuid7(),
            agent_id="bot",
            command=CommandType.KILL,
            ts=format_ts(now_s),
            expires_at=format_ts(now_s + 60),
            issued_by="operator",
            epoch=1,
        )
    )
    unsigned = msgspec.structs.replace(genuine, signature="", key_id="")
    tampered = msgspec.structs.replace(genuine, command=CommandType.RESUME)
    for command in (unsigned, tampered, genuine, genuine):
        listener.command(command)
    assert obeyed == [genuine]
    results = [decode_ack(value).result for _, _, value, _ in publisher.messages]
    assert results == ["rejected", "rejected", "applied"]
