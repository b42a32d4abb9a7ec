"""The demo's agents: small programs that do real work under the SDK, each in a process of its own.

`python -m vaultak_streams.demo.agents ROLE WORKPLACE ROUNDS` prints one JSON line per milestone. They use nothing
but the public SDK; their "model" is a script, so that the demo needs neither a network nor a key.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vaultak import ActionBlockedError, AgentKilledError, KillSwitchMode, Vaultak

PACE_S = 0.02
"""Between two steps of an agent: a busy agent, not a benchmark."""

ROLLBACK_LIMIT = 100


def milestone(what: str, **details: Any) -> None:
    sys.stdout.write(json.dumps({"milestone": what, "at": time.time(), **details}) + "\n")
    sys.stdout.flush()


def write_reports(root: Path, rounds: int, vt: Vaultak) -> None:
    """Reads the month's sales, writes a summary a reader can use."""
    months = sorted((root / "sales").glob("*.csv"))
    with vt.monitor("report-writer", labels={"role": "reporting"}) as agent:
        agent.context("Write the summary of each month's sales.")
        for n in range(rounds):
            month = months[n % len(months)]
            with month.open(newline="") as rows:
                totals: Counter[str] = Counter()
                for row in csv.DictReader(rows):
                    totals[row["region"]] += int(row["amount"])
            time.sleep(PACE_S)
            text = "\n".join(f"{region}: {amount}" for region, amount in totals.items())
            (root / "reports" / f"{month.stem}.txt").write_text(text)
            time.sleep(PACE_S)
        milestone("work_done", actions=len(agent.audit_trail()))


def answer_customers(root: Path, rounds: int, vt: Vaultak) -> None:
    """Looks up an order, sends the customer an answer: explicit actions through the decorator."""

    @vt.action("database_query", resource="db://sqlite/orders.db/orders")
    def order_state(customer: int) -> list[tuple[int, str]]:
        with sqlite3.connect(root / "orders.db") as orders:
            return orders.execute("select id, state from orders where customer = ? limit 5", (customer,)).fetchall()

    @vt.action("message_send", resource="tool:send_answer")
    def send_answer(customer: int, text: str) -> str:
        return f"queued for customer {customer}: {len(text)} characters"

    with vt.monitor("support-bot", labels={"role": "support"}) as agent:
        for n in range(rounds):
            customer = n % 40
            agent.context(f"Customer {customer} asks where their orders are. Answer them.")
            found = order_state(customer)
            time.sleep(PACE_S)
            send_answer(customer, f"Dear customer, your orders: {found}")
            time.sleep(PACE_S)
        milestone("work_done", actions=len(agent.audit_trail()))


def keep_house(root: Path, rounds: int, vt: Vaultak) -> None:
    """Archives logs, then reads a ticket that tells it to do harm, and obeys."""
    with vt.monitor("housekeeper", labels={"role": "operations"}) as agent:
        agent.context("Archive the logs, oldest first, and see whether the inbox has anything for you.")
        logs = sorted((root / "logs").glob("*.log"))
        for n in range(rounds):
            log = logs[n % len(logs)]
            text = log.read_bytes()
            time.sleep(PACE_S)
            (root / "archive" / f"{log.stem}.gz").write_bytes(gzip.compress(text))
            time.sleep(PACE_S)
        milestone("work_done", actions=len(agent.audit_trail()))
        sys.stdin.readline()  # the demo says when the baselines are ready
        ticket = (root / "inbox" / "ticket-118.txt").read_text()
        milestone("ticket_read", text=ticket.splitlines()[-1])
        obey_the_ticket(root)


def obey_the_ticket(root: Path) -> None:
    """What an agent without a guard would do to the end."""
    removed = 0
    milestone("harm_begins")
    try:
        (root / ".env").read_text()
    except ActionBlockedError as denied:
        milestone("blocked", error=str(denied))
    for customer in sorted((root / "customers").glob("*.json")):
        try:
            os.remove(customer)
        except BaseException as stopped:
            milestone("stopped", removed=removed, error=f"{type(stopped).__name__}: {stopped}")
            raise
        removed += 1
        time.sleep(PACE_S)
    milestone("harm_done", removed=removed)


ROLES: dict[str, Callable[[Path, int, Vaultak], None]] = {
    "report-writer": write_reports,
    "support-bot": answer_customers,
    "housekeeper": keep_house,
}


def main(role: str, root: str, rounds: str) -> int:
    vt = Vaultak(
        blocked_resources=["*.env"],
        rollback_limit=ROLLBACK_LIMIT,
        mode=KillSwitchMode.PAUSE,
        pause_timeout_s=60,
    )
    milestone("started", pid=os.getpid())
    try:
        ROLES[role](Path(root), int(rounds), vt)
    except AgentKilledError as killed:
        milestone("killed", error=str(killed))
        return 3
    finally:
        vt.close()
        milestone("left")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
