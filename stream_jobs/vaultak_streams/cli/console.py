"""`vaultak console`: the console alone, against the stack that runs here or the servers that the environment names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultak.errors import ConfigurationError
from vaultak_streams.cli.connections import current_settings
from vaultak_streams.cli.output import say
from vaultak_streams.console.accounts import add_account
from vaultak_streams.console.entrance import address, bind, entrance
from vaultak_streams.console.operators import Role
from vaultak_streams.console.options import ConsoleOptions


def register(app: typer.Typer) -> None:
    app.command()(console)


def console(
    host: Annotated[str | None, typer.Option(help="where to listen; loopback by default")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0: any free one; by default 8700 where that is free")
    ] = None,
    users: Annotated[Path | None, typer.Option(help="accounts with passwords, instead of the token")] = None,
    add_user: Annotated[str | None, typer.Option(help="put an account into the file of --users, and end")] = None,
    role: Annotated[Role, typer.Option(help="with --add-user: what the account may do")] = Role.VIEWER,
) -> None:
    """Serve the console: the fleet, its incidents, and acts on agents, in a browser."""
    if add_user is not None:
        if users is None:
            raise ConfigurationError("--add-user: say which file with --users")
        password = typer.prompt(f"password of {add_user}", hide_input=True, confirmation_prompt=True)
        add_account(users, add_user, role, password)
        say(f"{users}: {add_user} is {role}")
        return
    settings = current_settings()
    options = ConsoleOptions.from_env(host=host, port=port, users_file=users)
    if not settings.clickhouse_dsn:
        raise ConfigurationError("VAULTAK_CLICKHOUSE_DSN: not set, and no local stack runs; set it or `vaultak up`")
    listener = bind(options)
    say(f"console: {entrance(options, address(listener))}")
    from vaultak_streams.console.server import serve  # a quarter of a second that no other command should pay

    serve(settings, settings.clickhouse_dsn, options, listener)
