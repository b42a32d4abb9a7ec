"""`vaultak demo`: the main job, shown on a stack of its own."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vaultak.config import Settings
from vaultak_devstack.backends import Ports
from vaultak_devstack.keys import command_signer
from vaultak_devstack.stack import Stack
from vaultak_streams.cli.output import print_json, say, warn
from vaultak_streams.cli.up import BrokerOption
from vaultak_streams.demo import account, scenario
from vaultak_streams.local_stack import local_stack
from vaultak_streams.store.client import connect

POLICY = """\
# what the stream job of the demo does about a risk of 0.7 and more
max_risk_score = 0.7
mode = "rollback"
"""


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    broker: Annotated[BrokerOption, typer.Option(help="as for `vaultak up`")] = BrokerOption.AUTO,
    keep: Annotated[Path | None, typer.Option(help="keep all data in this (new) directory")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the account as JSON")] = False,
) -> None:
    """Real agents work, one goes wrong, is scored, stopped and rolled back; exits 0 only if that happened."""
    tell = (lambda _text: None) if as_json else say
    with _directory(keep) as root:
        settings = msgspec.structs.replace(
            Settings.from_env(), data_dir=root / "data", spool_dir=root / "data" / "spool", policy=None
        )
        policy = root / "policy.toml"
        policy.write_text(POLICY)
        stack = local_stack(
            settings,
            broker=broker.value,
            policy=policy,
            ports=Ports(broker=0, clickhouse_http=0, clickhouse_tcp=0),
            report=warn,
        )
        tell("starting broker, ClickHouse, worker and sink ...")
        with stack, stack.stopping_on_signals():
            stack.wait_ready()
            happened = _play(root, stack, settings, tell)
    if as_json:
        print_json(msgspec.to_builtins(happened, builtin_types=()))
    else:
        account.tell(happened)
    if complaints := account.complaints(happened):
        for complaint in complaints:
            warn(f"vaultak demo: {complaint}")
        raise typer.Exit(1)


def _play(root: Path, stack: Stack, settings: Settings, tell: scenario.Tell) -> scenario.Account:
    here = msgspec.structs.replace(settings, bootstrap_servers=stack.state().bootstrap_servers)
    with connect(stack.clickhouse_dsn("viewer")) as store:
        return scenario.run(root, here, store, command_signer(settings.data_dir), tell)


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """A directory of the demo's own, removed after a run that went well."""
    root = keep.resolve() if keep else Path(tempfile.mkdtemp(prefix="vaultak-demo-")).resolve()
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield root
    except BaseException:
        warn(f"the demo's data and logs are in {root}")
        raise
    if not keep:
        shutil.rmtree(root, ignore_errors=True)
