"""`vaultak run -- COMMAND`: the SDK's own command, listed with the others."""

from __future__ import annotations

import typer

from vaultak.run import main as run_program


def register(app: typer.Typer) -> None:
    # Everything behind `run` is the SDK's to parse, `--help` too: it works without the pipeline.
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("run", context_settings=settings)(run)


def run(context: typer.Context) -> None:
    """Run any program as an agent: `vaultak run -- python agent.py`. `vaultak run --help` says more."""
    raise typer.Exit(run_program(context.args))
