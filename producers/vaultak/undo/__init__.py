"""Undo: what an action will destroy is kept before it runs, so that the last actions can be taken back."""

from vaultak.undo.audit import record
from vaultak.undo.limits import UndoLimits
from vaultak.undo.log import UndoLog
from vaultak.undo.places import agent_directory, ended_logs, tidy
from vaultak.undo.steps import StepPreview, StepResult

__all__ = ["StepPreview", "StepResult", "UndoLimits", "UndoLog", "agent_directory", "ended_logs", "record", "tidy"]
