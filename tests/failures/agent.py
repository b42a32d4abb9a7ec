"""An agent that acts and writes down what it did: `python agent.py AGENT LEDGER ACTIONS_PER_SECOND`. Made to be killed.

A line of the ledger: the id of an action whose event and outcome the SDK had taken when it was written.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from vaultak import ActionType, OutcomeStatus, Vaultak
from vaultak.config import Settings


def main(agent_id: str, ledger: str, per_s: float) -> None:
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    book = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with Vaultak(settings=Settings.from_env(), rollback_limit=0, state_timeout_s=0.5) as vt:
        monitor = vt.monitor(agent_id, intercept=False)
        n = 0
        with monitor:
            while going:
                action_id = monitor.before(ActionType.TOOL_CALL, f"tool:step-{n % 20}", {"n": n % 7})
                monitor.after(action_id, OutcomeStatus.OK, duration_ms=0.5)
                os.write(book, action_id.encode() + b"\n")
                n += 1
                time.sleep(1 / per_s)
        vt.flush(30)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
