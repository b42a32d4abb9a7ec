"""`vaultak up`: the whole stack on one machine, until Ctrl-C."""

from __future__ import annotations

import enum
import time
from pathlib import Path
from typing import Annotated

import typer

from vaultak.config import Settings
from vaultak_devstack.lockfile import StackRunsError
from vaultak_devstack.stack import Stack
from vaultak_streams.cli.output import print_table, say, warn
from vaultak_streams.console.entrance import address_path, entrance
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.gateway.options import GatewayOptions
from vaultak_streams.gateway.options import address_path as gateway_address_path
from vaultak_streams.local_stack import local_stack


class BrokerOption(enum.StrEnum):
    AUTO = "auto"
    EMBEDDED = "embedded"
    KAFKA = "kafka"


def register(app: typer.Typer) -> None:
    app.command()(up)


def up(
    broker: Annotated[
        BrokerOption,
        typer.Option(
            help="kafka: a real Apache Kafka (JVM 17+, Maven); auto: VAULTAK_BOOTSTRAP_SERVERS, else embedded"
        ),
    ] = BrokerOption.AUTO,
    workers: Annotated[int, typer.Option("-n", "--workers", min=1, max=64, help="worker processes")] = 1,
    policy: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="policy file for the worker (YAML, TOML, JSON)")
    ] = None,
) -> None:
    """Start broker, ClickHouse, worker, sink and console here; print the addresses; Ctrl-C stops it."""
    settings = Settings.from_env()
    started = time.perf_counter()
    console = ConsoleOptions.from_env()
    GatewayOptions.from_env()  # what is wrong with it is said before anything starts
    stack = local_stack(
        settings, broker=broker.value, workers=workers, policy=policy, console=console, gateway=True, report=warn
    )
    try:
        stack.start()
    except StackRunsError as e:
        warn(f"vaultak: {e}")
        raise typer.Exit(1) from None
    with stack.stopping_on_signals():
        try:
            stack.wait_ready()
            _tell(stack, settings, console, time.perf_counter() - started)
            stack.wait()
        finally:
            say("stopping ...")
            stack.stop()
    if stack.failure:
        warn(f"vaultak: {stack.failure}")
        raise typer.Exit(1)
    say("stopped; data stays in " + str(settings.data_dir))


def _tell(stack: Stack, settings: Settings, console: ConsoleOptions, seconds: float) -> None:
    state = stack.state()
    say(f"[bold green]Vaultak is up[/] after {seconds:.1f} s")
    rows = [("console", entrance(console, address_path(settings.data_dir).read_text()))]
    rows += [
        ("gateway", f"{gateway_address_path(settings.data_dir).read_text()} (keys: vaultak gateway add-key AGENT)")
    ]
    rows += [("broker", f"{state.bootstrap_servers} ({state.broker})")]
    rows += [(name, address) for name, address in state.addresses.items() if name != "broker"]
    rows += [("data", str(settings.data_dir)), ("processes", ", ".join(f"{n} {p}" for n, p in state.pids.items()))]
    print_table(["what", "where"], rows)
    if state.broker == "embedded":
        say("[dim]the embedded broker keeps its topics in memory: they go when it stops (ClickHouse stays)[/]")
    say("try: vaultak demo, vaultak ingest --input FILE, vaultak agents, vaultak doctor; Ctrl-C stops")
