"""`vaultak audit retention | hold | backup | restore`: how long the trail is kept, whose for longer, and where else."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator
from typing import Annotated

import typer

from vaultak_devstack.clickhouse_config import dsn, load_credentials
from vaultak_streams.audit.backup import DISK, Backup, back_up, restore
from vaultak_streams.audit.retention import Retention, hold, holds, parse_days, release, retention, set_retention
from vaultak_streams.cli.connections import current_settings, open_store, store_dsn
from vaultak_streams.cli.output import print_json, print_table, say
from vaultak_streams.store.client import Store, connect, parse_dsn

AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Agent = Annotated[str, typer.Argument(help="the agent's id")]
Reason = Annotated[str, typer.Option(help="why; kept with the hold")]
Name = Annotated[str, typer.Argument(help="name of the backup")]
Disk = Annotated[str, typer.Option(help="a disk of the server that backups may go to")]

retention_app = typer.Typer(help="How long rows are kept.", no_args_is_help=True, rich_markup_mode=None)
hold_app = typer.Typer(help="Agents whose trail is kept regardless.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(retention_app, name="retention")
    app.add_typer(hold_app, name="hold")
    app.command("backup")(backup_store)
    app.command("restore")(restore_store)


@contextlib.contextmanager
def open_as_admin() -> Iterator[Store]:
    """The store with the right to change tables: the local stack's administrator, else whoever the DSN names."""
    settings = current_settings()
    given = store_dsn()
    options = parse_dsn(given)
    clickhouse = settings.data_dir / "clickhouse"
    if options["username"] == "viewer" and (clickhouse / "credentials.json").is_file():
        given = dsn(load_credentials(clickhouse), "admin", int(options["port"]), str(options["database"]))
    with connect(given) as store:
        yield store


@retention_app.command("show")
def show_retention(as_json: AsJson = False) -> None:
    """For how long events and actions are kept, and who is on hold."""
    with open_store() as store:
        _tell(retention(store), as_json)


@retention_app.command("set")
def change_retention(
    duration: Annotated[str, typer.Argument(help="days since it was stored, like `90d`, or `forever`")],
    as_json: AsJson = False,
) -> None:
    """Keep events, actions and dead letters for so long; what is older is deleted, agents on hold excepted."""
    days = parse_days(duration)
    with open_as_admin() as store:
        _tell(set_retention(store, days), as_json)


@hold_app.command("add")
def add_hold(agent: Agent, reason: Reason = "", as_json: AsJson = False) -> None:
    """Keep everything of this agent until it is released."""
    with open_as_admin() as store:
        _tell(hold(store, agent, reason=reason, by=getpass.getuser()), as_json)


@hold_app.command("release")
def lift_hold(agent: Agent, reason: Reason = "", as_json: AsJson = False) -> None:
    """Let retention take this agent's rows again: what is past it is deleted."""
    with open_as_admin() as store:
        _tell(release(store, agent, reason=reason, by=getpass.getuser()), as_json)


@hold_app.command("list")
def list_holds(as_json: AsJson = False) -> None:
    """Who is on hold, since when, by whom, why."""
    with open_store() as store:
        result = holds(store)
    if as_json:
        print_json(result.records())
    else:
        print_table(result.columns, result.rows)


def backup_store(
    name: Name,
    base: Annotated[str, typer.Option(help="an earlier backup: only what it lacks is written")] = "",
    disk: Disk = DISK,
    as_json: AsJson = False,
) -> None:
    """Put the whole store away, by ClickHouse's BACKUP."""
    with open_as_admin() as store:
        _tell_backup("put away", back_up(store, name, disk=disk, base=base), as_json)


def restore_store(
    name: Name,
    source: Annotated[str, typer.Option(help="the database that was put away, if it had another name")] = "",
    disk: Disk = DISK,
    as_json: AsJson = False,
) -> None:
    """Bring a backup back, into a store without rows."""
    with open_as_admin() as store:
        _tell_backup("brought back", restore(store, name, disk=disk, source=source), as_json)


def _tell(kept: Retention, as_json: bool) -> None:
    if as_json:
        print_json({"days": kept.days, "held": list(kept.held)})
        return
    say(f"rows are kept {'for good' if kept.days is None else f'for {kept.days} days'}")
    if kept.held:
        print_table(("kept regardless",), [(agent,) for agent in kept.held])


def _tell_backup(done: str, backup: Backup, as_json: bool) -> None:
    if as_json:
        print_json({"name": backup.name, "disk": backup.disk, "rows": backup.rows, "bytes": backup.bytes})
    else:
        say(f"{backup.name}: {backup.rows:,} rows {done}, {backup.bytes:,} bytes on disk `{backup.disk}`")
