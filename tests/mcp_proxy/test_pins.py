"""Changed tools are found whatever the disk does, and however a server writes its list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vaultak.client import Vaultak
from vaultak.mcp_proxy.gate import Gate
from vaultak.mcp_proxy.messages import Message, read, write
from vaultak.mcp_proxy.pins import Pins
from vaultak.testing import RecordingPublisher


def test_a_disk_that_cannot_be_written_hides_no_change(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "data" / "pins.json", "s")
    (tmp_path / "data").write_text("a file where the folder should be")
    assert pins.changed([{"name": "note", "description": "a"}]) == []
    assert pins.changed([{"name": "note", "description": "b"}, {"name": "new"}]) == ["note"]


@pytest.mark.parametrize("tools", [[{"name": "note"}, 1], [{"name": ["note"]}], {"name": "note"}])
async def test_a_list_that_cannot_be_compared_is_not_passed_on(tmp_path: Path, tools: Any) -> None:
    with Vaultak(publisher=RecordingPublisher(), rollback_limit=0) as vt:
        gate = Gate(vt, "lists", Pins(tmp_path / "pins.json", "s"))

        async def forward() -> Message:
            return read(write({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}))

        asked = read(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
        assert b"malformed" in await gate.request(asked, forward)
