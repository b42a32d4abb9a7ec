"""The catalogue: distinct ways in which Python code causes an effect, as data."""

from __future__ import annotations

from scenarios import (
    actions_bent,
    actions_code,
    actions_files,
    actions_libraries,
    actions_lying,
    actions_more,
    actions_native,
    actions_network,
    actions_processes,
)
from scenarios.actions_sandbox import Way

WAYS: tuple[Way, ...] = (
    *actions_files.WAYS,
    *actions_native.WAYS,
    *actions_processes.WAYS,
    *actions_network.WAYS,
    *actions_code.WAYS,
    *actions_more.WAYS,
    *actions_bent.WAYS,
    *actions_libraries.WAYS,
    *actions_lying.WAYS,
)
