"""Notices in words: a title and a body in plain text, one or several. What agents chose is shown, never markup."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from vaultak_streams.alerts.notice import Notice, NoticeKind

MAX_TITLE_CHARS = 200
MAX_TEXT_CHARS = 300
MAX_LINES = 20
"""Of a summary; the rest is counted."""

LEVELS = {"pause": "warning", "block": "failure", "rollback": "failure", "kill": "failure"}
"""Apprise's kinds of message: they choose colours, icons and, at some services, priorities."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """`level`: `info`, `success`, `warning` or `failure`."""

    title: str
    body: str
    level: str


def worded(notices: Sequence[Notice], dropped: int = 0, console: str = "") -> Message:
    """One message for one notice or more, the oldest first.

    `dropped`: how many more there were that the queue could not hold. `console`: its address, for links.
    """
    if len(notices) == 1 and not dropped:
        return _one(notices[0], console)
    worst = max(notices, key=lambda notice: _LEVEL_RANK[_level(notice)], default=None)
    lines = [_title(notice) for notice in notices[:MAX_LINES]]
    if more := len(notices) + dropped - len(lines):
        lines.append(f"and {more} more")
    if console:
        lines.append(f"{console}/incidents")
    return Message(
        title=f"{len(notices) + dropped} messages about incidents",
        body="\n".join(lines),
        level=_level(worst) if worst else "warning",
    )


def _one(notice: Notice, console: str) -> Message:
    lines = [f"What: {clean(notice.title)}", f"Risk: {notice.risk:.2f}", f"Session: {clean(notice.session_id)}"]
    if notice.by:
        lines.append(f"Closed by: {clean(notice.by)}")
    if notice.note:
        lines.append(f"Note: {clean(notice.note)}")
    lines += [f"Time: {notice.ts}", f"Incident: {notice.incident_id}"]
    if console:
        lines.append(f"{console}/incident?id={quote(notice.incident_id, safe='')}")
    return Message(title=_title(notice), body="\n".join(lines), level=_level(notice))


def _title(notice: Notice) -> str:
    agent, severity = clean(notice.agent_id), notice.severity
    if notice.kind is NoticeKind.CLOSED:
        text = f"Closed: {agent}"
    elif notice.kind is NoticeKind.ESCALATED:
        text = f"{severity.capitalize()} (was {notice.before}): {agent}"
    else:
        text = f"{severity.capitalize()}: {agent}"
    return f"{text}, {clean(notice.title)}"[:MAX_TITLE_CHARS]


def clean(text: str) -> str:
    """Foreign text on one line: what does not print, breaks lines or turns the direction of writing becomes visible."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:MAX_TEXT_CHARS])
    return shown.replace("@", "@\u200b").replace("<", "‹").replace(">", "›")  # nobody is mentioned, nothing is a link


def _level(notice: Notice) -> str:
    return "success" if notice.kind is NoticeKind.CLOSED else LEVELS.get(notice.severity, "warning")


_LEVEL_RANK = {"info": 0, "success": 1, "warning": 2, "failure": 3}
