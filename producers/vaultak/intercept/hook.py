"""The audit hook: one per process, never removable; compiled where that could be, in Python otherwise.

An event that nobody is interested in costs one look-up; one outside every monitor a second. Only an event caused by
governed code is classified and judged, before the effect, in the acting thread.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from vaultak._native import core
from vaultak.errors import ActionDeniedError, AgentKilledError
from vaultak.governor import Governor, current, governed_by
from vaultak.intercept.calls import here
from vaultak.intercept.effect import Classifier, Effect, Effects, Occurrence
from vaultak.intercept.trust import Origin, origins
from vaultak.wire import ActionType, OutcomeStatus

log = logging.getLogger("vaultak.intercept")

faults: Counter[str] = Counter()
"""Errors inside the interceptors, by where: `classify:<event>` and `journal:<resource's type>`. Never raised."""


def judge(governor: Governor, effects: Effects, assurance: str) -> None:
    """Judge effects in order; once all are allowed, keep what they will destroy. Raises what the governor raises."""
    if len(effects) == 1 and not (effect := effects[0]).action_id:
        # What nearly every event is: one effect.
        action_id = governor.before(effect.action_type, effect.resource, effect.payload, assurance=assurance)
        if effect.journal is not None and (undo := governor.undo) is not None:
            _keep(undo, effect, action_id)
        if effect.allowed is not None:
            effect.allowed(action_id)
        if calls := here.calls:
            calls[-1].actions.append((governor, action_id))
        return
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
    except Exception as e:  # noqa: BLE001
        return _not_classified(occurrence, e)


def _not_classified(occurrence: Occurrence, error: Exception) -> Effects:
    # Wrong types and values are arguments that the call itself will refuse: a null byte in a path.
    if not isinstance(error, ValueError | TypeError):
        faults[f"classify:{occurrence.event}"] += 1
        log.warning("cannot classify `%s`: %s: %s", occurrence.event, type(error).__name__, error)
    return (_unclassified(occurrence),)


def _unclassified(occurrence: Occurrence) -> Effect:
    return Effect(ActionType.CUSTOM, f"unclassified:{occurrence.event}", {"event": occurrence.event})


def add(classifiers: Mapping[str, Classifier]) -> None:
    """Add the hook over a fixed table, for the life of the process.

    Everything it needs is in closures: emptying modules does not disarm it.
    """
    react = _reaction(classifiers)
    if core is None:
        sys.addaudithook(_hook(frozenset(classifiers), react))
        return
    core.install(
        tuple(classifiers), *governed_by, origins.known, Origin.FOREIGN, Origin.LIBRARY, Origin.IMPORTER,
        Origin.WRAPPER, origins.actor, react,
    )  # fmt: skip


_NAMING = (os.O_PATH | os.O_CLOEXEC,) if hasattr(os, "O_PATH") else None
"""How the SDK opens a file to learn its name: no action, whoever does it, and asking who does would cost more."""

React = Callable[[str, tuple[Any, ...], FrameType | None, Governor], None]


def _reaction(classifiers: Mapping[str, Classifier]) -> React:
    """What happens on a wanted event of governed code."""
    table = dict(classifiers)
    decide, thread, make = judge, here, Occurrence

    def react(event: str, args: tuple[Any, ...], frame: FrameType | None, governor: Governor) -> None:
        if not governor.intercepted:
            return
        calls = thread.calls
        occurrence = make(event, args, frame, calls[-1] if calls else None)
        classifier = table[event]
        try:
            effects = classifier(occurrence)
        except Exception as e:  # noqa: BLE001
            effects = _not_classified(occurrence, e)
        if effects:
            decide(governor, effects, "hook")

    return react


def _hook(wanted: frozenset[str], react: React) -> Callable[[str, tuple[Any, ...]], None]:
    """The hook in Python: the same as the compiled core's."""
    governs, getframe, actor, naming = current, sys._getframe, origins.actor, _NAMING

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in wanted:
            return
        governor = governs()
        if governor is None or (event == "open" and args[2:] == naming):
            return
        frame, own = actor(getframe().f_back)  # none below: the program itself begins
        if not own:
            react(event, args, frame, governor)

    return hook
