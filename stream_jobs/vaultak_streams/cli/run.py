"""`vaultak run -- COMMAND` and `vaultak mcp-proxy -- COMMAND`: the SDK's own commands, listed with the others."""

from __future__ import annotations

import typer

from vaultak.mcp_proxy import main as run_proxy
from vaultak.run import main as run_program


def register(app: typer.Typer) -> None:
    # Everything behind these is the SDK's to parse, `--help` too: they work without the pipeline.
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("run", context_settings=settings)(run)
    app.command("mcp-proxy", context_settings=settings)(mcp_proxy)


def run(context: typer.Context) -> None:
    """Run any program as an agent: `vaultak run -- python agent.py`. `vaultak run --help` says more."""
    raise typer.Exit(run_program(context.args))


def mcp_proxy(context: typer.Context) -> None:
    """Any MCP server behind the guard: `vaultak mcp-proxy -- SERVER`. `vaultak mcp-proxy --help` says more."""
    raise typer.Exit(run_proxy(context.args))
