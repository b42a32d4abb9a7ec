"""What commands print: tables and lines for people, JSON for programs."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDE = 200
"""Columns where nobody looks at a terminal: tables stay whole in pipes and logs."""

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

SEVERITY_STYLE = {
    "allow": "green",
    "alert": "yellow",
    "pause": "dark_orange",
    "block": "red",
    "rollback": "red",
    "kill": "bold red",
    "running": "green",
    "paused": "dark_orange",
    "killed": "bold red",
    "ok": "green",
    "error": "yellow",
    "denied": "red",
    "reversed": "cyan",
    "applied": "green",
    "rejected": "red",
    "failed": "red",
}


def say(text: str = "", *, end: str = "\n") -> None:
    console.print(text, end=end)


def warn(text: str) -> None:
    """One line for the operator, on standard error, never styled by what it quotes."""
    errors.print(f"[yellow]{escape(text)}[/]")


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False, indent=2) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """A table whose cells are data: nothing in them is read as markup, control characters are made visible."""
    table = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in _NUMERIC else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


_NUMERIC = {"risk", "events", "count", "actions", "lag", "offset", "duration_ms", "baseline_events", "messages"}


def _plain(value: object) -> object:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)


def safe(text: str) -> str:
    """Foreign text for a terminal: control characters (escape sequences among them) become visible escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cell(value: object) -> str:
    if value is None:
        return "[dim]-[/]"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".") or "0"
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    if isinstance(value, list | tuple):
        return escape(safe(", ".join(map(str, value))))
    text = escape(safe(str(value)))
    style = SEVERITY_STYLE.get(text)
    return f"[{style}]{text}[/]" if style else text
