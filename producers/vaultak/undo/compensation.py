"""Runs what users registered to take an action back."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

from vaultak.undo.steps import CONFLICT, REVERSED, UNSUPPORTED, StepResult


class ConflictError(Exception):
    """Raised by a compensation that found what it would put back changed since by someone else, and left it."""


def compensate(action_id: str, compensation: Callable[[], object], description: str) -> StepResult:
    """Run it to its end, coroutines included. Never raises: a failure is `unsupported`, with the error, and a
    `ConflictError` is `conflict`."""
    try:
        result = compensation()
        if inspect.isawaitable(result):
            _wait_for(result)
    except ConflictError as e:
        return StepResult(action_id=action_id, target=description, status=CONFLICT, detail=str(e))
    except Exception as e:  # noqa: BLE001 - the user's own code: its failure is a result
        return StepResult(
            action_id=action_id, target=description, status=UNSUPPORTED, detail=f"{type(e).__name__}: {e}"
        )
    return StepResult(action_id=action_id, target=description, status=REVERSED)


def _wait_for(awaitable: Any) -> None:
    """Run an awaitable to its end, whether or not this thread has a loop of its own."""

    async def run() -> None:
        await awaitable

    errors: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as e:  # noqa: BLE001 - carried over to the waiting thread
            errors.append(e)

    thread = threading.Thread(target=work, name="vaultak-undo")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
