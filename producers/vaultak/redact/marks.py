"""What stands where a secret was."""

from __future__ import annotations

_START = "[REDACTED:"


def mark(kind: str) -> str:
    return f"{_START}{kind}]"


def is_mark(text: str) -> bool:
    """Whether this, or what it begins with, has been taken out already."""
    return text.startswith(_START)
