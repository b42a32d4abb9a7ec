"""`vaultak agents`, `pause`, `resume`, `kill`, `rollback`, `approve`, `deny`: look at agents and act on them."""

from __future__ import annotations

import asyncio
import getpass
import time
from typing import Annotated

import msgspec
import typer

from vaultak.approvals import DEFAULT_GRANT_S, GrantScope
from vaultak.emitter import Emitter
from vaultak.publish import Publisher
from vaultak.redact import Redactor
from vaultak.undo import StepPreview, StepResult, ended_logs, record
from vaultak.wire import CommandType
from vaultak_devstack.keys import command_signer
from vaultak_streams.cli.connections import current_settings, open_store
from vaultak_streams.cli.output import print_json, print_table, say, warn
from vaultak_streams.operate import STATE_AFTER, BrokerUnavailableError, Delivery, Grant, send_command
from vaultak_streams.store import queries

Agent = Annotated[str, typer.Argument(help="the agent's id; `*` means every agent")]
Reason = Annotated[str, typer.Option(help="why; the agent and the audit trail get to see it")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Wait = Annotated[float, typer.Option(help="seconds to wait for the agent's answer", min=0.1, max=60)]
ActionId = Annotated[str, typer.Argument(help="the action's id, as the verdict names it")]


AUDIT_WAIT_S = 5.0
"""For the broker to take the outcomes of a rollback."""


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


def rollback(
    agent: Agent,
    reason: Reason = "",
    last: Annotated[int, typer.Option(min=1, help="of an agent that has ended: so many of its last actions")] = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="of an agent that has ended: only say what would be done")
    ] = False,
    wait: Wait = 10.0,
    as_json: AsJson = False,
) -> None:
    """Reverse an agent's recent actions, last first; what could not be reversed is said.

    Running instances do it themselves, as many as their own `rollback_limit` allows. Where none answers, the logs that
    ended instances left on this machine are used.
    """
    answered = None if dry_run else _answered(agent, reason, wait, as_json)
    if answered:
        return
    logs = ended_logs(current_settings().data_dir, agent)
    if not logs:
        warn(f"no ended instance of `{agent}` left anything to reverse on this machine")
    steps: list[StepPreview | StepResult] = []
    for log in logs:
        left = last - len({step.action_id for step in steps})
        if left > 0:
            steps += log.steps(limit_actions=left) if dry_run else log.rollback(limit_actions=left)
        log.close()
    if not dry_run and steps:
        _record(agent, [step for step in steps if isinstance(step, StepResult)], broker=answered is not None)
    if as_json:
        print_json(msgspec.to_builtins(steps))
    elif steps:
        print_table(steps[0].__struct_fields__, [msgspec.structs.astuple(step) for step in steps])


def _record(agent: str, steps: list[StepResult], *, broker: bool) -> None:
    """Put on the audit what was taken back: as events of the agent, from an instance of their own.

    Without a broker they wait in the spool, which the next program that publishes from this machine delivers.
    """
    settings = current_settings()
    publisher = Publisher(settings)
    recorded = record(steps, Emitter(agent, settings.topics.actions, publisher, Redactor()), time.time())
    delivered = publisher.flush(AUDIT_WAIT_S) if broker else False
    publisher.close(0)
    if recorded and not delivered:
        warn(f"the audit does not have these {recorded} outcomes yet: they wait in {settings.spool_dir}")


def _answered(agent: str, reason: str, wait_s: float, as_json: bool) -> bool | None:
    """Whether a running instance took the order. Without a broker (`None`) none can: what is on this machine helps."""
    try:
        return _order(agent, CommandType.ROLLBACK, reason, wait_s, as_json)
    except BrokerUnavailableError as e:
        warn(f"vaultak: {e}; looking for what ended instances left on this machine")
        return None


def approve(
    agent: Agent,
    action_id: ActionId,
    reason: Reason = "",
    scope: Annotated[
        GrantScope,
        typer.Option(
            help="`once`; `session`: the same again in its session; `pattern`: this kind of action on this resource"
        ),
    ] = GrantScope.ONCE,
    for_s: Annotated[float, typer.Option("--for", help="seconds that a wider scope holds", min=1)] = DEFAULT_GRANT_S,
    wait: Wait = 3.0,
    as_json: AsJson = False,
) -> None:
    """Let one held action run, and with `--scope` what is like it, for a while."""
    _order(agent, CommandType.APPROVE, reason, wait, as_json, action_id, Grant(scope, for_s))


def deny(agent: Agent, action_id: ActionId, reason: Reason = "", wait: Wait = 3.0, as_json: AsJson = False) -> None:
    """Refuse one held action: it raises `ActionBlockedError` in the agent."""
    _order(agent, CommandType.DENY, reason, wait, as_json, action_id)


def _order(
    agent: str,
    command: CommandType,
    reason: str,
    wait_s: float,
    as_json: bool,
    action_id: str = "",
    grant: Grant | None = None,
) -> bool:
    """Send it and tell what came back; whether any instance answered."""
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
            grant=grant,
        )
    )
    if as_json and (delivery.acks or command is not CommandType.ROLLBACK):
        print_json({"command": msgspec.to_builtins(delivery.command), "acks": msgspec.to_builtins(delivery.acks)})
    else:
        _tell(delivery)
    return bool(delivery.acks)


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
