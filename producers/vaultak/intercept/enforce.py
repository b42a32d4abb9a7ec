"""Judgement in a patch, for effects that raise no audit event."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, cast

from vaultak.governor import current
from vaultak.intercept.calls import Call, Wrapper, here
from vaultak.intercept.effect import Classifier, Occurrence
from vaultak.intercept.hook import classify, judge
from vaultak.intercept.plain import plainly
from vaultak.intercept.trust import origins

_IN_PYTHON = (FunctionType, MethodType)
"""Python functions get what they were given."""


def enforce(name: str, classifier: Classifier, *, on_instance: bool = False) -> Wrapper:
    """A wrapt wrapper that judges the effects of a call before it and gives them their outcome after it.

    The classifier sees the call's positional arguments, after the instance with `on_instance`; keywords are in
    `Occurrence.call`.
    """

    def enforced(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        governor = current()
        if governor is None or not governor.intercepted:
            return wrapped(*args, **kwargs)
        frame, own = origins.actor(sys._getframe(1))
        if own:
            return wrapped(*args, **kwargs)
        if not isinstance(wrapped, _IN_PYTHON):
            args, kwargs = plainly(args, kwargs)
        call = Call(name, args, kwargs, time.perf_counter())
        seen = (instance, *args) if on_instance else args
        here.calls.append(call)
        try:
            if effects := classify(classifier, Occurrence(name, seen, frame, call)):
                judge(governor, effects, "patch")
            result = wrapped(*args, **kwargs)
        except BaseException as e:
            here.calls.remove(call)
            call.settle(e)
            raise
        here.calls.remove(call)
        if call.actions:
            call.settle(None)
        return result

    return enforced


origins.make_transparent(cast(FunctionType, enforce("", lambda _o: ())))
