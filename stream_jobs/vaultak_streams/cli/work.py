"""`vaultak worker`, `sink`, `ingest`, `bench`: the parts that do the work, each on its own."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vaultak.config import Settings
from vaultak.errors import ConfigurationError
from vaultak_devstack.topics import ensure_topics
from vaultak_streams.agents.readiness import wait_until_ready
from vaultak_streams.agents.worker import run_worker
from vaultak_streams.cli.connections import current_settings, open_store
from vaultak_streams.cli.output import errors, print_json, say, warn
from vaultak_streams.ingest import IngestSummary
from vaultak_streams.ingest import Progress as Step
from vaultak_streams.ingest import ingest as publish
from vaultak_streams.policy_files import load_policy
from vaultak_streams.sink.__main__ import main as sink_main
from vaultak_streams.store import queries
from vaultak_streams.store.cluster import cluster_name
from vaultak_streams.store.migrations import migrate as apply_migrations

STOP_S = 10.0


def register(app: typer.Typer) -> None:
    for command in (migrate, worker, sink, ingest, bench):
        app.command()(command)


def migrate(
    wait: Annotated[float, typer.Option(min=0, help="for so many seconds, until broker and ClickHouse answer")] = 60.0,
    cluster: Annotated[
        str, typer.Option(help="make the schema on this ClickHouse cluster, replicated [VAULTAK_CLICKHOUSE_CLUSTER]")
    ] = "",
) -> None:
    """Make the topics and the schema that are missing, on the servers that the environment names; safe to repeat."""
    settings = current_settings()
    if not settings.clickhouse_dsn:
        raise ConfigurationError("VAULTAK_CLICKHOUSE_DSN: not set; name the server that takes the audit trail")
    if name := cluster or settings.clickhouse_cluster or "":
        cluster_name(name)
    servers, prefix = settings.bootstrap_servers, settings.topics.prefix
    report = asyncio.run(ensure_topics(servers, prefix, settings.kafka_security, timeout_s=max(wait, 1.0)))
    for mismatch in report.mismatches:
        warn(mismatch)
    asyncio.run(asyncio.wait_for(wait_until_ready(settings, lambda _why: None), max(wait, 1.0)))
    say(f"topics: {len(report.created)} made, {len(report.existing)} there")
    applied = apply_migrations(settings.clickhouse_dsn, wait_s=wait, cluster=name)
    say(f"schema: {', '.join(applied) or 'up to date'}")


def worker(
    n: Annotated[int, typer.Option("-n", min=1, max=64, help="so many worker processes on this machine")] = 1,
    policy: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="policy file")] = None,
) -> None:
    """Judge actions, against the broker that the environment names."""
    settings = current_settings()
    chosen = load_policy(policy or settings.policy)
    if n == 1:
        raise typer.Exit(run_worker(settings, policy=chosen))
    env = {
        **os.environ,
        "VAULTAK_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        **({"VAULTAK_POLICY": str(policy)} if policy else {}),
    }
    command = [sys.executable, "-m", "vaultak_streams.agents.worker", "--number"]
    children = [subprocess.Popen([*command, str(i)], env=env) for i in range(n)]  # noqa: S603 - our own program
    raise typer.Exit(_wait_for(children))


def _wait_for(children: list[subprocess.Popen[bytes]]) -> int:
    """Until all have ended; a signal to this process is passed on. The highest exit code."""

    def pass_on(number: int, _frame: object) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    return max(child.wait() for child in children)


def sink() -> None:
    """Move all topics into ClickHouse, against the servers that the environment names."""
    raise typer.Exit(sink_main())


def ingest(
    inputs: Annotated[
        list[Path], typer.Option("--input", exists=True, dir_okay=False, help="recorded events (JSONL, or gzipped)")
    ],
    speed: Annotated[
        float | None, typer.Option(min=0, help="keep the recorded pace, divided by this; default: as fast as it goes")
    ] = None,
    wait: Annotated[bool, typer.Option(help="end when every verdict is stored in ClickHouse")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="give up after so many seconds without progress")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
) -> None:
    """Publish recorded events to the actions topic; `--input` may come more than once, in order."""
    settings = current_settings()
    if wait and not settings.clickhouse_dsn:
        raise ConfigurationError("VAULTAK_CLICKHOUSE_DSN: not set, and no local stack runs; set it or give --no-wait")
    summary = asyncio.run(_publish(settings, inputs, speed, wait, timeout))
    if as_json:
        print_json(msgspec.to_builtins(summary))
        return
    say(f"{summary.events:,} events published, {summary.events_per_s:,.0f}/s; {summary.actions:,} of them actions")
    if summary.unreadable or summary.too_large:
        warn(f"{summary.unreadable} lines are no events (dead letters), {summary.too_large} too large to publish")
    if wait:
        say(f"[green]{summary.verdicts:,} verdicts stored[/], all there after {summary.elapsed_s:.1f} s")


async def _publish(
    settings: Settings, inputs: list[Path], speed: float | None, wait: bool, timeout_s: float
) -> IngestSummary:
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bars:
        tasks = {stage: bars.add_task(stage, total=None, visible=False) for stage in ("publishing", "waiting")}

        def show(step: Step) -> None:
            bars.update(tasks[step.stage], completed=step.done, total=step.total or None, visible=True)

        def stored(action_ids: list[str]) -> int:
            with open_store() as store:
                return queries.stored_verdicts(store, action_ids)

        return await publish(
            settings,
            inputs,
            speed=speed,
            stored_verdicts=stored if wait else None,
            timeout_s=timeout_s,
            progress=show,
        )


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="which; all by default")] = None,
) -> None:
    """The benchmarks, as tables, each beside its baseline (in a checkout)."""
    root = Path(__file__).parents[3]
    if importlib.util.find_spec("bench") is None and not (root / "bench" / "__main__.py").is_file():
        raise ConfigurationError("the benchmarks are part of the repository: run this in a checkout")
    raise typer.Exit(subprocess.call([sys.executable, "-m", "bench", *(names or [])], cwd=root))  # noqa: S603 - our own program
