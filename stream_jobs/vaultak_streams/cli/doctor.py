"""`vaultak doctor`: what is reachable, configured, lagging; what to do about it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from vaultak_streams.cli.connections import current_settings
from vaultak_streams.cli.output import console, print_json, safe
from vaultak_streams.health import Grade, examine

MARK = {Grade.OK: "[green]ok  [/]", Grade.WARN: "[yellow]warn[/]", Grade.FAIL: "[red]fail[/]"}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Look at configuration, broker, topics, ClickHouse, worker, sink, spool; exit 1 if something fails."""
    findings = asyncio.run(examine(current_settings()))
    if as_json:
        print_json(msgspec.to_builtins(findings))
    else:
        for finding in findings:
            console.print(f"{MARK[finding.grade]} {finding.subject}: ", end="")
            console.print(safe(finding.detail), markup=False)
            if finding.fix:
                console.print(f"       -> {safe(finding.fix)}", markup=False, style="dim")
    if any(finding.grade is Grade.FAIL for finding in findings):
        raise typer.Exit(1)
