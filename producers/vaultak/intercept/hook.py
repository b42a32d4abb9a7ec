"""The audit hook: one per process, pure Python, never removable.

An event that nobody is interested in costs one look-up in a dictionary; one outside every monitor a second. Only an
event caused by governed code is classified and judged, before the effect, in the acting thread.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from vaultak.errors import ActionDeniedError, AgentKilledError
from vaultak.governor import Governor, current
from vaultak.intercept.calls import here
from vaultak.intercept.effect import Classifier, Effect, Effects, Occurrence
from vaultak.intercept.trust import origins
from vaultak.wire import ActionType, OutcomeStatus

log = logging.getLogger("vaultak.intercept")

faults: Counter[str] = Counter()
"""Errors inside the interceptors, by where: `classify:<event>` and `journal:<resource's type>`. Never raised."""


def judge(governor: Governor, effects: Effects, assurance: str) -> None:
    """Judge effects in order; once all are allowed, keep what they will destroy. Raises what the governor raises."""
    judged: list[tuple[Effect, str]] = []
    try:
        for effect in effects:
            action_id = effect.action_id or governor.before(
                effect.action_type, effect.resource, effect.payload, assurance=assurance
            )
            judged.append((effect, action_id))
    except BaseException as e:
        for effect, action_id in judged:
            if not effect.action_id:
                governor.after(action_id, OutcomeStatus.DENIED, error=str(e)[:500])
        raise
    undo = governor.undo
    for effect, action_id in judged:
        if undo is not None and effect.journal is not None:
            _keep(undo, effect, action_id)
        if effect.allowed is not None:
            effect.allowed(action_id)
    if here.calls:
        here.calls[-1].actions += [(governor, action_id) for effect, action_id in judged if not effect.action_id]


def _keep(undo: Any, effect: Effect, action_id: str) -> None:
    assert effect.journal is not None
    try:
        effect.journal(undo, action_id)
    except (ActionDeniedError, AgentKilledError):
        raise
    except Exception as e:  # noqa: BLE001  # the journal's own limits say what happens; a bug in it stays ours
        faults[f"journal:{effect.action_type}"] += 1
        log.warning("no pre-image of `%s` for action %s: %s: %s", effect.resource, action_id, type(e).__name__, e)


def classify(classifier: Classifier, occurrence: Occurrence) -> Effects:
    """The effects of an event. A bug in a classifier never hides the event: it is judged as `unclassified:<event>`."""
    try:
        return classifier(occurrence)
    except (ValueError, TypeError):
        # Arguments that the call itself will refuse: a null byte in a path, a wrong type.
        return (_unclassified(occurrence),)
    except Exception as e:  # noqa: BLE001
        faults[f"classify:{occurrence.event}"] += 1
        log.warning("cannot classify `%s`: %s: %s", occurrence.event, type(e).__name__, e)
        return (_unclassified(occurrence),)


def _unclassified(occurrence: Occurrence) -> Effect:
    return Effect(ActionType.CUSTOM, f"unclassified:{occurrence.event}", {"event": occurrence.event})


def build(classifiers: Mapping[str, Classifier]) -> Callable[[str, tuple[Any, ...]], None]:
    """The hook over a fixed table. Everything it needs is in its closure: emptying modules does not disarm it."""
    find = dict(classifiers).get
    governs, getframe = current, sys._getframe
    actor = origins.actor
    understand, decide = classify, judge
    thread, make = here, Occurrence

    def hook(event: str, args: tuple[Any, ...]) -> None:
        classifier = find(event)
        if classifier is None:
            return
        governor = governs()
        if governor is None or not governor.intercepted:
            return
        frame, own = actor(getframe(1))
        if own:
            return
        calls = thread.calls
        effects = understand(classifier, make(event, args, frame, calls[-1] if calls else None))
        if effects:
            decide(governor, effects, "hook")

    return hook
