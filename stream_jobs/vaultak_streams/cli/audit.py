"""`vaultak audit`: ask the audit trail, and have it proved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vaultak_streams.audit.findings import Report
from vaultak_streams.audit.verify import verify as verify_trail
from vaultak_streams.cli.connections import current_settings, open_store
from vaultak_streams.cli.output import print_json, print_table, say
from vaultak_streams.store import queries as queries

app = typer.Typer(
    help="Ask the audit trail, prove it, hand it on, keep it.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def audit() -> None:
    """Ask the audit trail, prove it, hand it on, keep it."""


@app.command()
def query(
    agent: Annotated[str | None, typer.Option(help="only this agent")] = None,
    session: Annotated[str | None, typer.Option(help="only this session")] = None,
    action_type: Annotated[str | None, typer.Option("--type", help="only this action type")] = None,
    decision: Annotated[str | None, typer.Option(help="only this decision")] = None,
    text: Annotated[str | None, typer.Option(help="resource or payload contains this text")] = None,
    since: Annotated[str | None, typer.Option(help="from then on: `15m`, `2h`, `7d` or an RFC 3339 time")] = None,
    until: Annotated[str | None, typer.Option(help="up to then, likewise")] = None,
    min_risk: Annotated[float | None, typer.Option(min=0, max=1, help="at least this risk")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="at most so many rows, newest first")] = 50,
    sql: Annotated[str | None, typer.Option(help="this SELECT instead, as the read-only user")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """What agents did: each action with its risk, its decision and its outcome."""
    filters = queries.AuditFilters(
        agent_id=agent,
        session_id=session,
        action_type=action_type,
        decision=decision,
        text=text,
        since=since,
        until=until,
        min_risk=min_risk,
        limit=limit,
    )
    with open_store() as store:
        result = queries.sql_passthrough(store, sql) if sql else queries.audit_query(store, filters)
    if as_json:
        print_json(result.records())
    else:
        print_table(result.columns, result.rows)


@app.command()
def verify(
    agent: Annotated[str | None, typer.Option(help="only this agent")] = None,
    since: Annotated[
        str | None, typer.Option(help="what was stored from then on: `2h`, `7d` or an RFC 3339 time")
    ] = None,
    chains_only: Annotated[bool, typer.Option(help="the messages alone, not the rows made of them")] = False,
    anchors: Annotated[
        Path | None, typer.Option(help="a copy of the sink's data directory, with its anchors and trusted keys")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Whether the trail is complete and untouched. Exit code 0: clean; 1: something was found."""
    with open_store() as store:
        report = verify_trail(
            store,
            agent_id=agent or "",
            since=queries.moment("--since", since),
            chains_only=chains_only,
            data_dir=anchors or current_settings().data_dir,
        )
    if as_json:
        print_json(_report_members(report))
    else:
        _print_report(report)
    if not report.clean:
        raise typer.Exit(1)


def _report_members(report: Report) -> dict[str, object]:
    findings = [{**msgspec.to_builtins(finding), "meaning": finding.meaning} for finding in report.findings]
    return {"clean": report.clean, **msgspec.to_builtins(report), "findings": findings}


def _print_report(report: Report) -> None:
    if report.findings:
        rows = [
            (f.agent_id, f.session_id, f.instance, f.seq, f.what.value, f.detail, f.meaning) for f in report.findings
        ]
        print_table(("agent", "session", "instance", "seq", "what", "detail", "what it means"), rows)
    if report.left_off:
        say(f"and {report.left_off:,} more")
    looked_at = f"{report.events:,} events in {report.chains:,} chains, {report.actions:,} actions"
    found = len(report.findings) + report.left_off
    say(f"{looked_at} in {report.seconds:.1f} s: {f'{found:,} findings' if found else 'complete and untouched'}")
    if report.unchained:
        say(f"{report.unchained:,} events came without a number: only their rows could be checked")
