"""`vaultak agents`, `pause`, `resume`, `kill`, `rollback`, `approve`, `deny`: look at agents and act on them."""

from __future__ import annotations

import asyncio
import getpass
from typing import Annotated

import msgspec
import typer

from vaultak.wire import CommandType
from vaultak_devstack.keys import command_signer
from vaultak_streams.cli.connections import current_settings, open_store
from vaultak_streams.cli.output import print_json, print_table, say, warn
from vaultak_streams.operate import STATE_AFTER, Delivery, send_command
from vaultak_streams.store import queries

Agent = Annotated[str, typer.Argument(help="the agent's id; `*` means every agent")]
Reason = Annotated[str, typer.Option(help="why; the agent and the audit trail get to see it")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Wait = Annotated[float, typer.Option(help="seconds to wait for the agent's answer", min=0.1, max=60)]
ActionId = Annotated[str, typer.Argument(help="the action's id, as the verdict names it")]


def register(app: typer.Typer) -> None:
    app.command()(agents)
    for command in (pause, resume, kill, rollback, approve, deny):
        app.command()(command)


def agents(as_json: AsJson = False) -> None:
    """Every agent: its state, when it last acted, its highest risk of the last day."""
    with open_store() as store:
        result = queries.agents(store)
    if as_json:
        print_json(result.records())
    else:
        print_table(result.columns, result.rows)


def pause(agent: Agent, reason: Reason = "", wait: Wait = 3.0, as_json: AsJson = False) -> None:
    """Hold an agent: its next action waits until `resume`, `deny` or its own time-out."""
    _order(agent, CommandType.PAUSE, reason, wait, as_json)


def resume(agent: Agent, reason: Reason = "", wait: Wait = 3.0, as_json: AsJson = False) -> None:
    """Let a paused agent go on; a killed one may start again."""
    _order(agent, CommandType.RESUME, reason, wait, as_json)


def kill(agent: Agent, reason: Reason = "", wait: Wait = 3.0, as_json: AsJson = False) -> None:
    """End an agent: every further action raises `AgentKilledError`, also after a restart, until `resume`."""
    _order(agent, CommandType.KILL, reason, wait, as_json)


def rollback(agent: Agent, reason: Reason = "", wait: Wait = 10.0, as_json: AsJson = False) -> None:
    """Reverse an agent's recent actions, last first; what could not be reversed is said."""
    _order(agent, CommandType.ROLLBACK, reason, wait, as_json)


def approve(agent: Agent, action_id: ActionId, reason: Reason = "", wait: Wait = 3.0, as_json: AsJson = False) -> None:
    """Let one held action run."""
    _order(agent, CommandType.APPROVE, reason, wait, as_json, action_id)


def deny(agent: Agent, action_id: ActionId, reason: Reason = "", wait: Wait = 3.0, as_json: AsJson = False) -> None:
    """Refuse one held action: it raises `ActionBlockedError` in the agent."""
    _order(agent, CommandType.DENY, reason, wait, as_json, action_id)


def _order(agent: str, command: CommandType, reason: str, wait_s: float, as_json: bool, action_id: str = "") -> None:
    settings = current_settings()
    delivery = asyncio.run(
        send_command(
            settings,
            command_signer(settings.data_dir),
            agent,
            command,
            reason=reason,
            action_id=action_id,
            issued_by=getpass.getuser(),
            ack_timeout_s=wait_s,
        )
    )
    if as_json:
        print_json({"command": msgspec.to_builtins(delivery.command), "acks": msgspec.to_builtins(delivery.acks)})
    else:
        _tell(delivery)


def _tell(delivery: Delivery) -> None:
    command = delivery.command
    if delivery.acks:
        print_table(
            ["agent", "instance", "result", "detail"],
            [(ack.agent_id, ack.instance, ack.result, ack.detail) for ack in delivery.acks],
        )
        return
    if command.command in STATE_AFTER:
        warn(f"no running instance of `{command.agent_id}` answered; one that starts later obeys `{command.command}`")
    else:
        warn(f"no running instance of `{command.agent_id}` answered `{command.command}`; is it running?")
    say(f"command {command.command_id} is on record")
