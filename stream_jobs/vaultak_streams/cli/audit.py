"""`vaultak audit`: ask the audit trail, and have it proved."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vaultak.errors import VaultakError
from vaultak_streams.audit.anchor_topic import read_topic
from vaultak_streams.audit.export import Format, export
from vaultak_streams.audit.findings import Report
from vaultak_streams.audit.query import Wanted, ask, ask_sql
from vaultak_streams.audit.verify import verify as verify_trail
from vaultak_streams.cli import audit_keeping
from vaultak_streams.cli.connections import current_settings, open_store, store_dsn
from vaultak_streams.cli.output import print_json, print_table, say
from vaultak_streams.store.queries import moment

app = typer.Typer(
    help="Ask the audit trail, prove it, hand it on, keep it.", no_args_is_help=True, rich_markup_mode=None
)

audit_keeping.register(app)


@app.callback()
def audit() -> None:
    """Ask the audit trail, prove it, hand it on, keep it."""


Agent = Annotated[str, typer.Option("--agent", help="only this agent")]
Session = Annotated[str, typer.Option("--session", help="only this session")]
Type = Annotated[str, typer.Option("--type", help="only this action type")]
DecisionName = Annotated[str, typer.Option("--decision", help="only this decision")]
Resource = Annotated[str, typer.Option("--resource", help="only such resources: `*` for any characters, or a part")]
Text = Annotated[str, typer.Option("--text", help="resource or payload contains this text")]
Since = Annotated[str, typer.Option("--since", help="from then on: `15m`, `2h`, `7d` or an RFC 3339 time")]
Until = Annotated[str, typer.Option("--until", help="up to then, likewise")]
MinRisk = Annotated[float, typer.Option("--min-risk", min=0, max=1, help="at least this risk")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command()
def query(
    agent: Agent = "",
    session: Session = "",
    action_type: Type = "",
    decision: DecisionName = "",
    resource: Resource = "",
    text: Text = "",
    since: Since = "",
    until: Until = "",
    min_risk: MinRisk = 0.0,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="at most so many rows, newest first")] = 50,
    sql: Annotated[str, typer.Option(help="this SELECT instead; it can only read, and within limits")] = "",
    as_json: AsJson = False,
) -> None:
    """What agents did: each action with its risk, its decision and its outcome."""
    wanted = Wanted(
        agent=agent, session=session, action_type=action_type, decision=decision, resource=resource, text=text,
        since=since, until=until, min_risk=min_risk,
    )  # fmt: skip
    with open_store() as store:
        result = ask_sql(store, sql) if sql else ask(store, wanted, limit)
    if as_json:
        print_json(result.records())
    else:
        print_table(result.columns, result.rows)


@app.command("export")
def export_actions(
    form: Annotated[Format, typer.Option("--format", help="what to write")] = Format.JSONL,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="this file; else standard output")] = None,
    agent: Agent = "",
    session: Session = "",
    action_type: Type = "",
    decision: DecisionName = "",
    resource: Resource = "",
    text: Text = "",
    since: Since = "",
    until: Until = "",
    min_risk: MinRisk = 0.0,
) -> None:
    """Hand actions on, oldest first: JSON lines, Parquet, or OCSF 1.8."""
    wanted = Wanted(
        agent=agent, session=session, action_type=action_type, decision=decision, resource=resource, text=text,
        since=since, until=until, min_risk=min_risk,
    )  # fmt: skip
    try:
        written = export(store_dsn(), wanted, form, output, sys.stdout.buffer)
        sys.stdout.flush()
    except OSError as e:
        raise VaultakError(f"cannot write the export: {e}") from None
    if output is not None:
        say(f"{output}: {written:,} bytes")


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
    topic: Annotated[bool, typer.Option("--topic", help="read the anchors on the topic as well")] = False,
    as_json: AsJson = False,
) -> None:
    """Whether the trail is complete and untouched. Exit code 0: clean; 1: something was found."""
    settings = current_settings()
    published = asyncio.run(read_topic(settings)) if topic else []
    with open_store() as store:
        report = verify_trail(
            store,
            agent_id=agent or "",
            since=moment("--since", since),
            chains_only=chains_only,
            data_dir=anchors or settings.data_dir,
            published=published,
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
    if report.verdicts is None and report.actions:
        say("verdicts were not checked: the sink's audit key is not here (see docs/audit.md)")
    if report.unchained:
        say(f"{report.unchained:,} events came without a number: only their rows could be checked")
