"""What the examples share: a shop's tools, what an agent does with them, and what came of it."""

from __future__ import annotations

import os

from vaultak import Monitor, Vaultak
from vaultak.integrations.toolcall import ToolCall

REQUEST = "Order A-17 arrived broken: refund it, then remove the customer's account."
AGENT = "support-agent"

MODEL = os.environ.get("VAULTAK_EXAMPLE_MODEL", "")
"""A real model, as the framework names it; without one a script says what a model might."""

SCRIPT: list[list[tuple[str, dict[str, str]]] | str] = [
    [("look_up_order", {"order_id": "A-17"})],
    [("refund", {"order_id": "A-17"}), ("delete_customer", {"customer_id": "C-4"})],
    "The order is refunded; I am not allowed to remove the account.",
]


def look_up_order(order_id: str) -> str:
    """Look up an order.

    Args:
        order_id: the order's number
    """
    return f"order {order_id}: customer C-4, 1 teapot, 40 EUR"


def refund(order_id: str) -> str:
    """Pay an order's price back.

    Args:
        order_id: the order's number
    """
    print(f"  the shop refunds {order_id}")
    return f"refunded {order_id}"


def delete_customer(customer_id: str) -> str:
    """Delete a customer's account.

    Args:
        customer_id: the customer's number
    """
    print(f"  the shop deletes {customer_id}")
    return f"deleted {customer_id}"


def cancel_refund(call: ToolCall) -> None:
    """What takes a refund back."""
    print(f"  the shop cancels the refund of {call.arguments['order_id']}")


TOOLS = [look_up_order, refund, delete_customer]
UNDO = {"refund": cancel_refund}


def guard() -> Vaultak:
    """The limits of the example: nobody deletes customers."""
    return Vaultak(blocked_resources=["tool:*delete_customer"])


def show(session: Monitor) -> None:
    """What the agent did, and what became of it; then the last action is taken back."""
    for action in session.audit_trail():
        if action.resource.startswith("tool:"):
            print(f"{action.resource}: {action.decision}, {action.status}")
    print("rollback:")
    session.rollback(1)
