"""smtplib: a message is judged before any of it leaves, once for each recipient.

The resource is `mailto:<address>`, in lower case. One action a recipient, so that a list of allowed addresses holds for
all of them; each names the others in its payload. All are judged before the first is told to the server.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from email.utils import parseaddr
from functools import partial
from typing import Any

from vaultak.intercept import calls
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.patching import patch_method, when_imported
from vaultak.wire import ActionType

CLASSIFIERS: dict[str, Classifier] = {}

MAX_SHOWN_CHARS = 4096
"""Of a message, in the payload."""
MAX_NAMED = 100
"""Other recipients named in one action's payload."""


def resource_of(recipient: object) -> str:
    """`mailto:<address>` of a recipient, with or without a display name."""
    text = recipient.decode("utf-8", "replace") if isinstance(recipient, bytes) else str(recipient)
    return "mailto:" + (parseaddr(text)[1] or text.strip().strip("<>")).lower()


def _payload(o: Occurrence, connection: Any, sender: object) -> dict[str, Any]:
    host, port = getattr(connection, "_host", ""), getattr(connection, "port", None)
    return {"op": o.event, "sender": str(sender), "server": host} | ({"port": port} if port else {})


def _mailed(o: Occurrence) -> Effects:
    """`sendmail(from_addr, to_addrs, msg)`; `send_message` calls it."""
    connection = o.args[0]
    assert o.call is not None
    sender, to, message = (o.call.argument(i, name) for i, name in enumerate(("from_addr", "to_addrs", "msg")))
    if not isinstance(to, str | bytes | list | tuple | set | frozenset | dict):
        return NONE  # an iterator, which can be gone through once: judged as each is told to the server
    recipients = list(dict.fromkeys(map(resource_of, [to] if isinstance(to, str | bytes) else to)))
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
    payload = _payload(o, connection, sender) | {
        "recipients": recipients[:MAX_NAMED],
        "message": text[:MAX_SHOWN_CHARS],
        "message_bytes": len(message),
    }
    return tuple(Effect(ActionType.MESSAGE_SEND, r, payload, allowed=_covers(o, r)) for r in recipients)


def _told(o: Occurrence) -> Effects:
    """`rcpt(recip)` by itself: a program that speaks the protocol line by line."""
    assert o.call is not None
    resource = resource_of(o.call.argument(0, "recip"))
    if calls.covered(("mail", resource)):
        return NONE
    return (Effect(ActionType.MESSAGE_SEND, resource, _payload(o, o.args[0], "")),)


def _covers(o: Occurrence, resource: str) -> Callable[[str], object]:
    assert o.call is not None
    return partial(o.call.covered.__setitem__, ("mail", resource))


def _patch() -> None:
    owner = sys.modules["smtplib"].SMTP
    patch_method(owner, "sendmail", enforce("smtplib.sendmail", _mailed, on_instance=True))
    patch_method(owner, "rcpt", enforce("smtplib.rcpt", _told, on_instance=True))


def patch() -> None:
    when_imported("smtplib", _patch)
