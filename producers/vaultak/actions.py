"""Any callable as an action: `@vt.action("database_write", resource="db://pg/crm/users", undo=restore)`."""

from __future__ import annotations

import functools
import inspect
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from vaultak import governor
from vaultak.wire import ActionType, OutcomeStatus

F = TypeVar("F", bound=Callable[..., Any])

_PLACE = re.compile(r"\{(\w+)\}")

Resource = str | Callable[..., str] | None


def as_action(
    function: F,
    action_type: ActionType,
    resource: Resource,
    undo: Callable[..., object] | None,
    default_governor: Callable[[], governor.Governor],
) -> F:
    """Wrap `function` (plain or coroutine) so that each call is judged before and recorded after.

    `resource` is a string, in which `{name}` stands for an argument, or a callable of the arguments; by default
    `tool:<name of the function>`. `undo` (plain or coroutine) is called with the same arguments, last first, when the
    action is rolled back. Outside every monitor the call is governed by `default_governor`.
    """
    signature = inspect.signature(function)
    name = getattr(function, "__name__", type(function).__name__)

    def describe(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        bound = signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        payload = dict(bound.arguments)
        payload.pop("self", None)
        if callable(resource):
            return resource(*arguments, **keywords), payload
        if resource is None:
            return f"tool:{name}", payload
        return _fill(resource, payload), payload

    def remember(governed: governor.Governor, action_id: str, arguments: Any, keywords: Any) -> None:
        if undo is not None and governed.undo is not None:
            compensation = functools.partial(undo, *arguments, **keywords)
            governed.undo.register(action_id, compensation, f"undo of {name}")

    def call(*arguments: Any, **keywords: Any) -> Any:
        governed = governor.current() or default_governor()
        target, payload = describe(arguments, keywords)
        action_id = governed.before(action_type, target, payload)
        start = time.perf_counter()
        try:
            result = function(*arguments, **keywords)
        except BaseException as e:
            governed.after(action_id, OutcomeStatus.ERROR, error=_describe(e), duration_ms=_ms_since(start))
            raise
        remember(governed, action_id, arguments, keywords)
        governed.after(action_id, OutcomeStatus.OK, content=_text(result), duration_ms=_ms_since(start))
        return result

    async def call_async(*arguments: Any, **keywords: Any) -> Any:
        governed = governor.current() or default_governor()
        target, payload = describe(arguments, keywords)
        action_id = await governed.before_async(action_type, target, payload)
        start = time.perf_counter()
        try:
            result = await function(*arguments, **keywords)
        except BaseException as e:
            governed.after(action_id, OutcomeStatus.ERROR, error=_describe(e), duration_ms=_ms_since(start))
            raise
        remember(governed, action_id, arguments, keywords)
        governed.after(action_id, OutcomeStatus.OK, content=_text(result), duration_ms=_ms_since(start))
        return result

    wrapper = call_async if inspect.iscoroutinefunction(function) else call
    return cast(F, functools.wraps(function)(wrapper))


def _fill(template: str, arguments: dict[str, Any]) -> str:
    """`{name}` replaced by the argument; nothing else is interpreted (no attributes, no format specifications)."""
    return _PLACE.sub(lambda m: str(arguments[m[1]]) if m[1] in arguments else m[0], template)


def _text(result: object) -> str:
    if result is None:
        return ""
    if isinstance(result, str):
        return result
    try:
        return str(result)
    except Exception:  # noqa: BLE001 - a result that cannot be shown is no reason to fail the action
        return f"<{type(result).__name__}>"


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
