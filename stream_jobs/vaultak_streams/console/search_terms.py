"""What somebody typed into the search box: `agent:billing-bot decision:stopped risk:0.7 since:2h ledger`."""

from __future__ import annotations

import datetime as dt
import re
import shlex
from typing import Any

import msgspec

from vaultak.errors import ConfigurationError
from vaultak.wire import ActionType, Decision, OutcomeStatus
from vaultak_streams.store.queries import moment

MAX_CHARS = 400

STOPPED = "stopped"
"""Stands for every decision that stops an action."""

_OLDEST = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
_NEWEST = dt.datetime(2199, 1, 1, tzinfo=dt.UTC)
_TERM = re.compile(r"(agent|session|type|decision|status|rule|risk|since|until):(.+)", re.DOTALL)
_RISK = re.compile(r"(?:>=?)?(0(?:\.\d{1,9})?|1(?:\.0{1,9})?|\.\d{1,9})")


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for; empty means no matter. `problems`: what was not understood, in words."""

    agent: str = ""
    session: str = ""
    type: str = ""
    decision: str = ""
    status: str = ""
    rule: str = ""
    min_risk: float = 0.0
    since: dt.datetime = _OLDEST
    until: dt.datetime = _NEWEST
    text: str = ""
    problems: tuple[str, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """For `queries`."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "problems"}

    @property
    def only_text(self) -> bool:
        """Whether there is nothing but text, which other things than actions can match too."""
        return self == Terms(text=self.text, problems=self.problems)

    @property
    def only_time(self) -> bool:
        """Whether everything of a span of time is wanted."""
        return self == Terms(since=self.since, until=self.until, problems=self.problems)


def parse(query: str) -> Terms:
    """Read a query. Never raises: what is not understood is told in `problems`, and not searched for."""
    found: dict[str, Any] = {}
    words: list[str] = []
    problems: list[str] = []
    for part in _parts(query[:MAX_CHARS]):
        match = _TERM.fullmatch(part)
        if match is None:
            words.append(part)
            continue
        try:
            name, value = _value(match[1], match[2])
            found[name] = value
        except ConfigurationError as e:
            problems.append(str(e))
    return Terms(**found, text=" ".join(words), problems=tuple(problems))


def quoted(name: str, value: str) -> str:
    """A term as it has to be typed."""
    return f"{name}:{shlex.quote(value)}"


def _parts(query: str) -> list[str]:
    lexer = shlex.shlex(query, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError:  # a quote that is not closed: taken as text
        return query.split()


def _value(name: str, text: str) -> tuple[str, Any]:
    if name in _CHOICES:
        if text not in _CHOICES[name]:
            raise ConfigurationError(f"{name}: `{text[:40]}` is none of {', '.join(_CHOICES[name])}")
        return name, text
    if name == "risk":
        if not (match := _RISK.fullmatch(text)):
            raise ConfigurationError(f"risk: `{text[:40]}` is not a number from 0 to 1")
        return "min_risk", float(match[1])
    if name in ("since", "until"):
        try:
            when = moment(name, text)
        except OverflowError:
            when = _OLDEST
        assert when is not None
        return name, min(max(when, _OLDEST), _NEWEST)
    return name, text


_CHOICES: dict[str, tuple[str, ...]] = {
    "type": tuple(ActionType),
    "decision": (STOPPED, *Decision),
    "status": tuple(OutcomeStatus),
}
