"""The whole system on this machine: the stack with its worker and its sink."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from vaultak.config import Settings
from vaultak_devstack.backends import BrokerChoice, Ports
from vaultak_devstack.stack import Stack
from vaultak_devstack.supervised import ChildSpec
from vaultak_streams.agents.options import status_path
from vaultak_streams.alerts.options import AlertOptions
from vaultak_streams.alerts.service import alert_status_path
from vaultak_streams.console.entrance import address_path
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.gateway.options import address_path as gateway_address_path
from vaultak_streams.metrics.options import ANYWHERE, VARIABLE
from vaultak_streams.policy_files import load_policy
from vaultak_streams.sink.sink import sink_status_path
from vaultak_streams.store.migrations import migrate

MIGRATION_WAIT_S = 10.0


def local_stack(
    settings: Settings,
    *,
    broker: BrokerChoice = "auto",
    workers: int = 1,
    policy: Path | None = None,
    ports: Ports | None = None,
    console: ConsoleOptions | None = None,
    gateway: bool = False,
    report: Callable[[str], object] = lambda _line: None,
) -> Stack:
    """A stack that is ready to start, with a console where its options are given, with a gateway where that is wanted,
    with alerts where the environment says where they go.

    Raises `PolicyError` for a policy that the worker could not load, `ConfigurationError` for alerts that cannot be.
    """
    load_policy(policy or settings.policy)
    metrics = {VARIABLE: os.environ.get(VARIABLE, "").strip() or ANYWHERE}
    chosen = metrics | ({"VAULTAK_POLICY": str(policy)} if policy else {})
    judges = [
        ChildSpec(
            name=f"worker-{n}",
            command=(sys.executable, "-m", "vaultak_streams.agents.worker", "--number", str(n)),
            env=chosen,
            ready_file=status_path(settings, n),
        )
        for n in range(workers)
    ]
    sink = ChildSpec(
        name="sink",
        command=(sys.executable, "-m", "vaultak_streams.sink"),
        env=metrics,
        ready_file=sink_status_path(settings),
    )
    cluster = (settings.clickhouse_cluster or "") if settings.clickhouse_dsn else ""
    return Stack(
        settings,
        broker=broker,
        children=[
            *judges,
            sink,
            *([_console(settings, console)] if console else []),
            *([_gateway(settings, chosen)] if gateway else []),
            *_alerts(settings, metrics),
        ],
        ports=ports,
        migrate=lambda dsn: migrate(dsn, wait_s=MIGRATION_WAIT_S, cluster=cluster),
        report=report,
    )


def _console(settings: Settings, options: ConsoleOptions) -> ChildSpec:
    return ChildSpec(
        name="console",
        command=(sys.executable, "-m", "vaultak_streams.console"),
        env={"VAULTAK_CONSOLE_TOKEN": options.token},
        clickhouse_role="viewer",
        ready_file=address_path(settings.data_dir),
    )


def _gateway(settings: Settings, env: dict[str, str]) -> ChildSpec:
    command = (sys.executable, "-m", "vaultak_streams.gateway")
    return ChildSpec(name="gateway", command=command, env=env, ready_file=gateway_address_path(settings.data_dir))


def _alerts(settings: Settings, env: dict[str, str]) -> list[ChildSpec]:
    options = AlertOptions.from_env()
    if not options.wanted:
        return []
    command = (sys.executable, "-m", "vaultak_streams.alerts")
    return [ChildSpec(name="alerts", command=command, env=env, ready_file=alert_status_path(settings))]
