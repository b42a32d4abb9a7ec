"""`vaultak acls`: who may do what on the topics, as commands to look at or applied to a broker."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from vaultak_devstack.acls import acls_for, apply_acls, roles
from vaultak_streams.cli.connections import current_settings
from vaultak_streams.cli.output import print_table, say

Principals = Annotated[list[str], typer.Option(metavar="User:NAME", help="principals of this role; may be repeated")]


def register(app: typer.Typer) -> None:
    app.command()(acls)


def acls(
    agent: Principals = [],  # noqa: B006 - typer copies it
    worker: Principals = [],  # noqa: B006
    sink: Principals = [],  # noqa: B006
    operator: Principals = [],  # noqa: B006
    gateway: Principals = [],  # noqa: B006
    alerts: Principals = [],  # noqa: B006
    apply: Annotated[
        bool, typer.Option("--apply", help="create them; without, print commands for kafka-acls.sh")
    ] = False,
) -> None:
    """Kafka ACLs for the principals of each role: agents only write actions and answers, only workers and operators
    write commands. Without principals: what each role may do."""
    given = {"agent": agent, "worker": worker, "sink": sink, "operator": operator, "gateway": gateway, "alerts": alerts}
    if not any(given.values()):
        rows = [(name, ", ".join(of.write), ", ".join(of.read), of.about) for name, of in roles().items()]
        print_table(["role", "writes", "reads", "about"], rows)
        return
    settings = current_settings()
    wanted = acls_for(given, settings.topics.prefix)
    if not apply:
        for acl in wanted:
            typer.echo(acl.command())
        return
    say(f"{asyncio.run(apply_acls(settings, wanted))} ACLs are there")
