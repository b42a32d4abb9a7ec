"""`vaultak replay`: judge recorded events without a broker, by the very code that the worker runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vaultak_streams.cli.output import print_json, print_table, say, warn
from vaultak_streams.policy_files import load_policy
from vaultak_streams.replay import replay as run_replay


def register(app: typer.Typer) -> None:
    app.command()(replay)


def replay(
    input_: Annotated[
        Path, typer.Option("--input", exists=True, dir_okay=False, help="events to judge: JSONL, or gzipped")
    ],
    output: Annotated[Path, typer.Option(dir_okay=False, help="one verdict a line, in the order of the actions")],
    history: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="earlier events: they teach the baselines only")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="policy file (YAML, TOML or JSON)")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="directory of a model (default: the shipped one)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
) -> None:
    """Judge recorded events offline: byte for byte the same verdicts for the same input."""
    summary = run_replay(history=history, input=input_, output=output, policy=load_policy(policy), model=model)
    if as_json:
        print_json(msgspec.to_builtins(summary))
        return
    print_table(["decision", "actions"], sorted(summary.decisions.items()))
    for reason, count in sorted(summary.dead_letters.items()):
        warn(f"{count} lines not judged: {reason}")
    say(f"{summary.verdicts} verdicts in {output} ({summary.events_per_s:,.0f} events/s)")
