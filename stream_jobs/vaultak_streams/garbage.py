"""Python's search for cycles, in processes whose work leaves none."""

from __future__ import annotations

import gc

NEW_OBJECTS = 100_000


def collect_rarely() -> None:
    """Look for cycles after so many new objects, and never again among those that are there now.

    Python looks after every 700: with a batch in hand that costs the worker a seventh of its throughput, the sink more.
    """
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
