"""The process's own settings: environment variables and resource limits."""

from __future__ import annotations

from types import FrameType
from typing import Any

from vaultak.intercept import paths
from vaultak.intercept.calls import observe
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.patching import patch_function
from vaultak.intercept.trust import Origin, origins
from vaultak.wire import ActionType


def _variable(o: Occurrence) -> Effects:
    """Values stay out of the payload: variables are where secrets live."""
    if _is_library(o.frame):
        return NONE
    payload: dict[str, Any] = {"op": o.event}
    if len(o.args) > 1:
        payload["value_bytes"] = len(o.args[1])
    return (Effect(ActionType.CUSTOM, f"env:{paths.printable(paths.text(o.args[0]))}", payload),)


def _is_library(frame: FrameType | None) -> bool:
    """Whether an installed library sets a variable by itself, and does not just call what it is given."""
    while frame is not None and origins.of(frame.f_code) in (Origin.STDLIB, Origin.WRAPPER):
        frame = frame.f_back
    if frame is None or origins.of(frame.f_code) is not Origin.LIBRARY:
        return False
    return not _WORDS.isdisjoint(frame.f_code.co_names)


_WORDS = frozenset({"environ", "environb", "putenv", "unsetenv"})


def _limit(o: Occurrence) -> Effects:
    number = o.args[0] if o.event == "resource.setrlimit" else o.args[1]
    payload = {"op": o.event, "limits": [str(part) for part in o.args[-1] or ()]}
    return (Effect(ActionType.PERMISSION_CHANGE, f"resource-limit:{_limit_name(number)}", payload),)


def _limit_name(number: object) -> str:
    import resource

    return next((n for n in dir(resource) if n.startswith("RLIMIT_") and getattr(resource, n) == number), str(number))


CLASSIFIERS: dict[str, Classifier] = {
    "os.putenv": _variable,
    "os.unsetenv": _variable,
    "resource.setrlimit": _limit,
    "resource.prlimit": _limit,
}


def patch() -> None:
    for name in ("putenv", "unsetenv"):
        patch_function(("os", "posix"), name, observe(f"os.{name}"))
