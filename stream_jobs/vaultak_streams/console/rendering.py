"""Templates: everything in them is escaped; what is shown of numbers, times and risks is decided here."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from vaultak_streams.console.search_terms import quoted

HERE = Path(__file__).parent

_environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,  # of every template, whatever its name
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page, with who looks at it and where they are."""
    return HTMLResponse(fragment(template, operator=request.state.operator, path=request.url.path, **values), status)


def fragment(template: str, **values: Any) -> str:
    return _environment.get_template(template).render(**values)


def visible(value: object) -> str:
    """Foreign text: control characters and those that turn the direction of writing become visible escapes."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(value))


def number(value: float | None) -> str:
    """`1,234`; with one decimal below ten where there is one."""
    if value is None:
        return "–"
    if value < 10 and value != int(value):
        return f"{value:.1f}"
    return f"{round(value):,}"


def risk(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def level(value: float | None) -> str:
    """The name of a risk's colour."""
    if value is None:
        return "none"
    return "high" if value >= 0.7 else "mid" if value >= 0.4 else "low"


def ago(when: dt.datetime | None, now: dt.datetime | None = None) -> str:
    """`now`, `42 s`, `7 min`, `3 h`, `2 d` before."""
    if when is None or when.year < 1980:
        return "–"
    seconds = ((now or dt.datetime.now(dt.UTC)) - _aware(when)).total_seconds()
    if seconds < 5:
        return "now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def clock(when: dt.datetime | None) -> str:
    return "–" if when is None else _aware(when).strftime("%H:%M:%S.%f")[:-3]


def stamp(when: dt.datetime | None) -> str:
    return "–" if when is None else _aware(when).strftime("%Y-%m-%d %H:%M:%S")


def day(when: dt.datetime | None) -> str:
    """`23 Nov`; empty for today."""
    if when is None or _aware(when).date() == dt.datetime.now(dt.UTC).date():
        return ""
    return f"{when.day} {when:%b}"


def moment(when: dt.datetime | str) -> str:
    """A time of the store, or of a message."""
    if isinstance(when, str):
        return visible(when).replace("T", " ").removesuffix("Z")
    return f"{stamp(when)}.{when.microsecond // 1000:03}"


def exact(when: dt.datetime) -> str:
    """To the microsecond, for paging."""
    return _aware(when).isoformat(timespec="microseconds")


def term(value: str, name: str) -> str:
    """As a term of the search box."""
    return quoted(name, value)


def iso(when: dt.datetime | None) -> str:
    return "" if when is None else _aware(when).isoformat(timespec="milliseconds")


def span(milliseconds: float | None) -> str:
    """`0.4 ms`, `12 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`."""
    if milliseconds is None:
        return "–"
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def pretty(text: str) -> str:
    """JSON laid out for reading; anything else as it is."""
    try:
        return visible(json.dumps(json.loads(text), indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return visible(text)


def _aware(when: dt.datetime) -> dt.datetime:
    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)


_FILTERS = (visible, number, risk, level, ago, clock, stamp, moment, day, exact, term, iso, span, pretty)
_environment.filters |= {function.__name__: function for function in _FILTERS}
