"""`vaultak metrics`: where the processes of this host show their metrics, and what they say."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer

from vaultak_streams.cli.connections import current_settings
from vaultak_streams.cli.output import console, print_json, print_table, safe, warn
from vaultak_streams.metrics.endpoint import targets_directory

TIMEOUT_S = 5.0


def register(app: typer.Typer) -> None:
    app.command()(metrics)


def metrics(
    show: Annotated[bool, typer.Option(help="print the metrics themselves, of all processes")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="print JSON, as Prometheus' file_sd and http_sd read it")
    ] = False,
) -> None:
    """Where worker, sink and alerts of this host show metrics, and whether each is ready; exit 1 if one is not."""
    targets = list(_targets(targets_directory(current_settings().data_dir)))
    if as_json:
        print_json(targets)
        return
    if not targets:
        warn("vaultak: no process here shows metrics; `vaultak up`, or set VAULTAK_METRICS=host:port for them")
        raise typer.Exit(1)
    ready = {target["targets"][0]: _ask(target["targets"][0], "/readyz") for target in targets}
    if show:
        for address in ready:
            console.print(safe_lines(_ask(address, "/metrics")), markup=False)
    else:
        rows = [(t["labels"]["process"], f"http://{t['targets'][0]}/metrics", ready[t["targets"][0]]) for t in targets]
        print_table(["process", "metrics", "ready"], rows)
    if any(answer != "ok" for answer in ready.values()):
        raise typer.Exit(1)


def _targets(directory: Path) -> Any:
    for path in sorted(directory.glob("*.json")):
        try:
            yield from json.loads(path.read_text())
        except (OSError, ValueError) as e:
            warn(f"vaultak: {path}: {e}")


def _ask(address: str, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=TIMEOUT_S) as answer:
            return str(answer.read().decode().strip())
    except urllib.error.HTTPError as e:
        return str(e.read(500).decode(errors="replace").strip())
    except OSError as e:
        return f"does not answer: {e}"


def safe_lines(text: str) -> str:
    return "\n".join(map(safe, text.splitlines()))
