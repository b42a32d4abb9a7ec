"""Undo: what an action will destroy is kept before it runs, so that the last actions can be taken back."""

from vaultak.undo.limits import UndoLimits
from vaultak.undo.log import UndoLog, orphans, tidy
from vaultak.undo.steps import StepPreview, StepResult

__all__ = ["StepPreview", "StepResult", "UndoLimits", "UndoLog", "orphans", "tidy"]
