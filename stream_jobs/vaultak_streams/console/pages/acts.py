"""Acts: the form with what will happen, the order itself, what came of it, and everything that was ever ordered."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from vaultak.wire import CommandType
from vaultak_streams.console import queries, undo
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.forms import own_form
from vaultak_streams.console.operators import Operator
from vaultak_streams.console.orders import ConsoleOrder, Deliveries, Done, NotAllowedError, OrderError
from vaultak_streams.console.rendering import page
from vaultak_streams.operate import BrokerUnavailableError, send_command

log = structlog.get_logger("vaultak.console")

LISTED = 200
ACK_WAIT_S = 3.0
ROLLBACK_WAIT_S = 10.0

EFFECTS = {
    CommandType.PAUSE: "Its next action waits until somebody resumes it, or its own time-out ends.",
    CommandType.RESUME: "It goes on where it was held; a killed agent may start again.",
    CommandType.KILL: "Every further action fails, also after a restart, until somebody resumes it.",
    CommandType.ROLLBACK: "It takes back its last actions, the newest first, and says what could not be taken back.",
    CommandType.APPROVE: "This one action runs.",
    CommandType.DENY: "This one action is refused; the agent goes on.",
}


def routes(desk: Desk) -> list[Route]:
    deliveries = Deliveries()

    async def confirm(request: Request) -> Response:
        order = _allowed(request.state.operator, dict(request.query_params))
        shown: dict[str, Any] = {"action": None, "undoable": [], "left_here": []}
        if order.action_id:
            shown["action"] = await desk.reader.ask(queries.action, order.agent_id, order.action_id)
        if order.command is CommandType.ROLLBACK:
            shown["undoable"], shown["left_here"] = await asyncio.gather(
                desk.reader.ask(queries.undoable, order.agent_id, undo.LAST_ACTIONS),
                asyncio.to_thread(undo.preview, desk.settings, order.agent_id),
            )
        template = "act_form.html" if request.headers.get("hx-request") else "act.html"
        return page(request, template, order=order, effect=EFFECTS[order.command], **shown)

    async def act(request: Request) -> Response:
        operator: Operator = request.state.operator
        form = await own_form(request)
        done = await _send(desk, operator, _allowed(operator, dict(form)))
        deliveries.keep(done)
        return RedirectResponse(f"/acts/{done.delivery.command.command_id}", 303)

    async def outcome(request: Request) -> Response:
        command_id = request.path_params["command_id"]
        done = deliveries.get(command_id)
        if done is not None:
            return page(
                request, "act_done.html", command=done.delivery.command, acks=done.delivery.acks, steps=done.steps
            )
        command, acks = await asyncio.gather(
            desk.reader.ask(queries.command, command_id), desk.reader.ask(queries.acks_of, [command_id])
        )
        if command is None:
            raise HTTPException(404, "No such command is stored")
        return page(request, "act_done.html", command=command, acks=acks, steps=())

    async def listed(request: Request) -> Response:
        return page(request, "acts.html", commands=await desk.reader.ask(queries.commands, LISTED))

    return [
        Route("/act", confirm, methods=["GET"]),
        Route("/act", act, methods=["POST"]),
        Route("/acts", listed),
        Route("/acts/{command_id}", outcome),
    ]


def _allowed(operator: Operator, form: dict[str, object]) -> ConsoleOrder:
    try:
        order = ConsoleOrder.of(form)
        order.check(operator)
    except OrderError as e:
        raise HTTPException(400, str(e)) from None
    except NotAllowedError as e:
        log.warning(
            "an act was refused", operator=operator.name, role=operator.role.value, act=str(form.get("command"))
        )
        raise HTTPException(403, str(e)) from None
    return order


async def _send(desk: Desk, operator: Operator, order: ConsoleOrder) -> Done:
    """Send it, signed, in the operator's name. What is sent is on the control topic: the audit's record of the act."""
    rollback = order.command is CommandType.ROLLBACK
    try:
        delivery = await send_command(
            desk.settings,
            desk.sign,
            order.agent_id,
            order.command,
            reason=order.reason,
            action_id=order.action_id,
            incident_id=order.incident_id,
            issued_by=operator.issuer,
            ack_timeout_s=ROLLBACK_WAIT_S if rollback else ACK_WAIT_S,
            grant=order.grant,
        )
    except BrokerUnavailableError as e:
        raise HTTPException(503, f"Nothing was sent: {e}") from None
    log.info("ordered", operator=operator.name, command=order.command.value, agent=order.agent_id,
             command_id=delivery.command.command_id, answers=len(delivery.acks))  # fmt: skip
    steps = (
        () if not rollback or delivery.acks else await asyncio.to_thread(undo.take_back, desk.settings, order.agent_id)
    )
    return Done(delivery=delivery, steps=tuple(steps))
