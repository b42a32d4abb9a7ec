"""`vaultak audit`: ask the audit trail."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultak_streams.cli.connections import open_store
from vaultak_streams.cli.output import print_json, print_table
from vaultak_streams.store import queries as queries

app = typer.Typer(help="Ask the audit trail.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def audit() -> None:
    """Ask the audit trail."""


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
