"""The account of the demo, for people: what happened, in the order in which it happened."""

from __future__ import annotations

import json
import re
from typing import Any

from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from vaultak_streams.cli.output import console, print_table, safe, say
from vaultak_streams.demo.scenario import Account

SHOWN_ROWS = 12


def complaints(a: Account) -> list[str]:
    """What did not happen as it must; empty when all did."""
    found = []
    if a.differing:
        found.append(f"{len(a.differing)} files are not as they were: {', '.join(a.differing[:3])}")
    if a.verdict["decision"] not in ("rollback", "kill", "pause", "block"):
        found.append(f"the verdict was `{a.verdict['decision']}`")
    if a.response["result"] != "applied":
        found.append(f"the agent answered the command with `{a.response['result']}`")
    if not a.kill_answers:
        found.append("the agent did not acknowledge the kill")
    if "AgentKilledError" not in a.killed:
        found.append(f"the agent ended with {a.killed}")
    return found


def tell(a: Account) -> None:
    say()
    print_table(
        ["agent", "actions", "baseline_events", "risk"],
        [(row["agent_id"], row["actions"], row["baseline_events"], row["max_risk"]) for row in a.fleet],
        title="[bold]1. Ordinary work[/] (highest risk of each agent)",
    )
    say()
    say("[bold]2. One goes wrong[/]: the housekeeper obeys a ticket that tells it to delete the customers' files")
    console.print(f"   reading .env: {safe(a.blocked)}", markup=False)
    say("   [dim]that was decided inside the agent's process, before the file was opened[/]")
    say()
    _tell_verdict(a)
    say()
    _tell_response(a)
    say()
    print_table(
        ["ts", "action_type", "resource", "local", "risk", "decision", "outcome"],
        [_trail_row(row) for row in a.trail[:SHOWN_ROWS]],
        title=f"[bold]5. The audit trail[/] in ClickHouse, {min(SHOWN_ROWS, len(a.trail))} of {len(a.trail)} rows",
    )


def _tell_verdict(a: Account) -> None:
    v = a.verdict
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("action", f"{v['action_type']} {_short(v['resource'])} (decided locally: {v['local_decision']})")
    table.add_row("risk", f"[bold red]{v['risk']:.2f}[/] -> [bold]{v['decision']}[/]")
    table.add_row("factors", ", ".join(f"{name} {_unit(value)}" for name, value in v["factors"].items()))
    for item in json.loads(v["explanation"])[:3]:
        table.add_row("because", f"{item['feature']}: {_short(item['value'])} (typical: {_short(item['typical'])})")
    console.print(
        Panel.fit(
            table, title="3. The stream job's verdict that set off the rollback", title_align="left", border_style="red"
        )
    )


def _tell_response(a: Account) -> None:
    say("[bold]4. The response[/]")
    say(f"   {a.emit_to_verdict_ms:6.0f} ms   from the action to its verdict")
    say(f"   {a.emit_to_applied_ms:6.0f} ms   from the action to the command applied: {a.response['detail']}")
    say(f"   {a.removed} files had been removed by then;", end=" ")
    say(f"[green]{a.restored} of {a.restored + len(a.differing)} are there, byte for byte[/]")
    console.print(f"   the operator's kill: {safe(a.killed)}", markup=False)


def _trail_row(row: dict[str, Any]) -> tuple[Any, ...]:
    ts = row["ts"].strftime("%H:%M:%S.%f")[:-3]
    return (ts, row["action_type"], _short(row["resource"]), row["local_decision"], row["risk"], row["decision"],
            row["outcome_status"])  # fmt: skip


def _short(resource: str) -> str:
    """Foreign text, with paths inside the demo's workplace from there on."""
    return escape(safe(re.sub(r"/\S*?/workplace/", "", resource)))


def _unit(value: float | None) -> str:
    return "not ready" if value is None else f"{value:.2f}"
