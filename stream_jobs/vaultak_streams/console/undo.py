"""What a rollback would take back, and what ended instances left on this machine to take back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from vaultak.config import Settings
from vaultak.emitter import Emitter
from vaultak.publish import Publisher
from vaultak.redact import Redactor
from vaultak.undo import StepPreview, StepResult, UndoLog, ended_logs, record

LAST_ACTIONS = 5
"""As many as an agent takes back by itself unless it is told otherwise (`rollback_limit`)."""

AUDIT_WAIT_S = 5.0
"""For the broker to take the outcomes."""


def preview(settings: Settings, agent_id: str) -> list[StepPreview]:
    """What the logs of ended instances on this machine would take back, newest first. Blocks."""
    steps: list[StepPreview] = []
    with _logs(settings, agent_id) as logs:
        for log in logs:
            if (left := LAST_ACTIONS - len({step.action_id for step in steps})) > 0:
                steps += log.steps(limit_actions=left)
    return steps


def take_back(settings: Settings, agent_id: str) -> list[StepResult]:
    """Take that back, and put its outcomes on the audit. Blocks."""
    steps: list[StepResult] = []
    with _logs(settings, agent_id) as logs:
        for log in logs:
            if (left := LAST_ACTIONS - len({step.action_id for step in steps})) > 0:
                steps += log.rollback(limit_actions=left)
    if steps:
        publisher = Publisher(settings)
        emitter = Emitter(agent_id, settings.topics.actions, publisher, Redactor())
        record(steps, emitter, time.time())
        publisher.flush(AUDIT_WAIT_S)  # what is left over waits in the spool for the next program that publishes
        publisher.close(0)
    return steps


@contextlib.contextmanager
def _logs(settings: Settings, agent_id: str) -> Iterator[list[UndoLog]]:
    logs = ended_logs(settings.data_dir, agent_id)
    try:
        yield logs
    finally:
        for log in logs:
            log.close()
