"""Named semaphores, which C code makes and removes under `/dev/shm` without an event.

Those that `multiprocessing` makes for its own locks, and removes at once, are none of the agent's actions.
"""

from __future__ import annotations

import os
from types import FrameType

from vaultak.intercept import paths
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.native_files import SHARED_MEMORY
from vaultak.intercept.patching import patch_function, when_imported
from vaultak.intercept.trust import Origin, origins
from vaultak.wire import ActionType

_OWN_PREFIXES = ("/mp-", "/loky-", "/joblib-")
"""Of the names that `multiprocessing` and its like draw at random."""
_OWNERS = (Origin.STDLIB, Origin.LIBRARY)


def _path(name: object) -> str:
    return os.path.join(SHARED_MEMORY, "sem." + paths.text(name).lstrip("/"))


def _is_lock(name: object, frame: FrameType | None) -> bool:
    return frame is not None and origins.of(frame.f_code) in _OWNERS and paths.text(name).startswith(_OWN_PREFIXES)


def _argument(o: Occurrence, position: int, keyword: str) -> object:
    return o.call.argument(position, keyword) if o.call is not None else None


def _made(o: Occurrence) -> Effects:
    name = _argument(o, 3, "name")
    if name is None or _is_lock(name, o.frame):
        return NONE
    return (Effect(ActionType.FILE_WRITE, paths.printable(_path(name)), {"op": o.event}),)


def _removed(o: Occurrence) -> Effects:
    name = _argument(o, 0, "name")
    if name is None or _is_lock(name, o.frame):
        return NONE
    return (Effect(ActionType.FILE_DELETE, paths.printable(_path(name)), {"op": o.event}),)


CLASSIFIERS: dict[str, Classifier] = {}
"""None: these are effects without an event."""


def _patch() -> None:
    patch_function(("_multiprocessing",), "SemLock", enforce("multiprocessing.SemLock", _made))
    patch_function(("_multiprocessing",), "sem_unlink", enforce("multiprocessing.sem_unlink", _removed))


def patch() -> None:
    when_imported("_multiprocessing", _patch)
