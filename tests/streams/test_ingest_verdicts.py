"""Waiting for verdicts: ends when they are stored, says what is missing when they do not come."""

from __future__ import annotations

import time

import pytest

from vaultak_streams import ingest
from vaultak_streams.ingest import IngestError, Progress, wait_for_verdicts


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "POLL_S", 0.005)


async def test_it_ends_when_all_are_stored_and_tells_how_far_it_is() -> None:
    stored: set[str] = set()
    wanted = [f"a{n}" for n in range(2500)]
    seen: list[Progress] = []

    def ask(ids: list[str]) -> int:
        stored.update(wanted[len(stored) : len(stored) + 400])
        return sum(one in stored for one in ids)

    assert await wait_for_verdicts(wanted, ask, 5.0, seen.append) == 2500
    assert seen[-1] == Progress("waiting", 2500, 2500)
    assert [p.done for p in seen] == sorted(p.done for p in seen)


async def test_a_store_that_is_away_is_asked_again() -> None:
    answers = iter([OSError("connection refused"), OSError("connection refused"), 1])

    def ask(ids: list[str]) -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert await wait_for_verdicts(["a"], ask, 5.0, lambda _: None) == 1


async def test_what_is_missing_is_named_in_one_line() -> None:
    started = time.monotonic()
    with pytest.raises(IngestError, match=r"^3 of 5 verdicts were not stored within 0 s; .*vaultak doctor") as e:
        await wait_for_verdicts(list("abcde"), lambda ids: 2, 0.1, lambda _: None)
    assert "\n" not in str(e.value)
    assert time.monotonic() - started < 3
