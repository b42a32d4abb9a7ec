"""`vaultak gateway`: HTTP for agents in any language, and the keys with which they come."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from vaultak_streams.cli.connections import current_settings
from vaultak_streams.cli.output import print_json, print_table, say
from vaultak_streams.gateway.keys import ApiKeys, keys_path
from vaultak_streams.gateway.options import GatewayOptions
from vaultak_streams.policy_files import load_policy

app = typer.Typer(help="HTTP for agents in any language: POST /v1/actions, commands, keys.", no_args_is_help=True)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="where to listen; loopback by default")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0: any free one; by default 8701 where that is free")
    ] = None,
) -> None:
    """Serve the gateway until Ctrl-C; `vaultak up` does this by itself."""
    from vaultak_streams.console.entrance import address
    from vaultak_streams.gateway.server import bind
    from vaultak_streams.gateway.server import serve as serve_gateway
    from vaultak_streams.logs import configure_logs

    configure_logs()
    settings, options = current_settings(), GatewayOptions.from_env(host=host, port=port)
    policy, listener = load_policy(settings.policy), bind(options)
    say(f"gateway: {address(listener)}")
    serve_gateway(settings, options, policy, listener)


@app.command("add-key")
def add_key(
    agents: Annotated[list[str], typer.Argument(help="agent ids, or beginnings of ids with a `*` behind")],
    note: Annotated[str, typer.Option(help="whose key it is")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Make a key that speaks for these agents. It is shown once."""
    key, text = _keys().add(agents, note)
    if as_json:
        print_json({"key": text, "key_id": key.key_id, "agents": list(key.agents)})
    else:
        say(text)


@app.command("keys")
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Which keys there are, and for which agents; not the keys themselves."""
    found = _keys().all()
    if as_json:
        print_json([{k: v for k, v in msgspec.to_builtins(key).items() if k != "sha256"} for key in found])
    else:
        print_table(
            ["key", "agents", "made", "note"], [(key.key_id, key.agents, key.created, key.note) for key in found]
        )


@app.command("revoke-key")
def revoke_key(key_id: Annotated[str, typer.Argument(help="as `vaultak gateway keys` shows it")]) -> None:
    """Take a key back: a second later it opens nothing."""
    _keys().revoke(key_id)
    say(f"{key_id} is revoked")


def _keys() -> ApiKeys:
    return ApiKeys(GatewayOptions.from_env().keys or keys_path(current_settings().data_dir))
