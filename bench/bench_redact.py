"""What taking secrets out costs: texts seen for the first time, beside one seen before, and a payload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.timing import Sample, compare, say, time_each
from vaultak.redact import Redactor

N = 5000

_QUERY = (
    "SELECT id, name, email FROM customers WHERE country = 'DE' AND created_at > '2026-01-01' ORDER BY id LIMIT {n}; "
    "-- report for the weekly meeting, see /home/user/projects/reports/2026/week-{n}.md and "
    "https://intranet.example.com/wiki/page?id={n} for the details of what is wanted"
)
_TEXTS = {
    "text of 260 characters": _QUERY,
    "path": "/home/user/projects/app/src/file_{n}.py",
    "text with a password": "export DB_PASSWORD=hunter2-{n}; ./deploy --env staging",
    "text with a word that may announce one": "the author of key idea number {n}: somebody else",
}


def main() -> None:
    samples = [_again(), *(_first(name, text) for name, text in _TEXTS.items()), _payload()]
    compare("redaction", samples, baseline="seen before")
    say("\nEach text is another one but for `seen before`.")


def _first(name: str, text: str) -> Sample:
    return _over(name, Redactor().text, lambda n: text.format(n=n))


def _again() -> Sample:
    return _over("seen before", Redactor().text, lambda _: _TEXTS["path"])


def _payload() -> Sample:
    return _over("payload of 4 members", Redactor().value, lambda n: {
        "op": "open", "mode": "w", "path": f"/home/user/data/file{n}.txt", "note": f"write the summary {n}",
    })  # fmt: skip


def _over(name: str, redact: Callable[[Any], object], make: Callable[[int], object]) -> Sample:
    values = iter([make(n) for n in range(N + 200)])
    return time_each(name, lambda: redact(next(values)), N)


if __name__ == "__main__":
    main()
