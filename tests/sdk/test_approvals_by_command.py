"""An approval given on the command line, as far as its scope reaches, over a real broker."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sdk.operator_side import settings, until
from vaultak import Vaultak
from vaultak.wire import ActionType, Topics
from vaultak_devstack.keys import command_signer
from vaultak_streams.cli.app import app
from vaultak_streams.policy import bundle_from

ASKS = """
title: Payments ask
id: asks
detection:
  sel: {resource: "tool:pay"}
  condition: sel
enforce: require_approval
"""


@pytest.mark.stack
@pytest.mark.parametrize(("scope", "passes"), [("once", False), ("pattern", True)])
def test_the_scope_of_an_approval_travels(
    broker: Any, topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str, passes: bool
) -> None:
    command_signer(tmp_path)  # the agent trusts the key from its start
    s = settings(tmp_path, broker.bootstrap_servers, topics)
    for name, value in {
        "VAULTAK_BOOTSTRAP_SERVERS": s.bootstrap_servers, "VAULTAK_TOPIC_PREFIX": topics.prefix,
        "VAULTAK_DATA_DIR": str(s.data_dir),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    ended: list[object] = []
    with Vaultak(settings=s, rules=bundle_from([("r", ASKS)]), rollback_limit=0) as vt:
        m = vt.monitor("payer", intercept=False)

        def act(amount: int) -> None:
            try:
                ended.append(m.before(ActionType.TOOL_CALL, "tool:pay", {"amount": amount}))
            except BaseException as e:
                ended.append(e)

        waiting = m._agent._waiting
        threading.Thread(target=act, args=(1,), daemon=True).start()
        until(lambda: bool(waiting.action_ids))
        asked = waiting.action_ids[0]
        done = CliRunner().invoke(app, ["approve", "payer", asked, "--scope", scope, "--for", "60", "--wait", "10"])
        assert done.exit_code == 0, done.output
        assert "applied" in done.output
        until(lambda: ended == [asked])
        threading.Thread(target=act, args=(2,), daemon=True).start()
        until(lambda: len(ended) == 2 or bool(waiting.action_ids))
        assert (len(ended) == 2) is passes
        for action_id in waiting.action_ids:
            m.deny(action_id)
