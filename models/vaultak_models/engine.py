"""The risk engine: judges actions against the profiles of their agents, and lets the profiles learn."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

import msgspec
import numpy as np

from vaultak.policy.static_risk import StaticRisk
from vaultak.wire import Action, Context, Contribution, Event, Factors, OutcomeStatus
from vaultak_models.encounter import encounter
from vaultak_models.exits import scorer
from vaultak_models.explanation import NATS_OF_FULL_EVIDENCE, explain, reasons_of_origin
from vaultak_models.features import FEATURES
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile, Oddness
from vaultak_models.provenance.origin import Origin
from vaultak_models.risk import DEFAULT, RiskConfig, evidence, figure, fuse
from vaultak_models.sighting import static_of

_OF_FACTOR = {
    name: tuple(i for i, feature in enumerate(FEATURES) if feature.factor == name) for name in ("payload", "rate")
}


class Assessment(msgspec.Struct, frozen=True):
    """What the engine says of one action."""

    risk: float
    factors: Factors
    explanation: tuple[Contribution, ...]
    baseline_events: int
    model_version: str
    resource_count: int | None = None
    """How often the agent used this resource before, as far as its baseline remembers; `None` until that is ready."""


class _Measured(msgspec.Struct, frozen=True):
    """What is kept of an action until the forest has scored the whole batch."""

    static: StaticRisk
    baseline_events: int
    origin: Origin
    measures: list[float] | None
    reasons: tuple[Contribution, ...]
    resource_count: int | None = None


class RiskEngine:
    """Judges with one model. Holds no state of its own: that is in the profiles.

    An assessment depends on the earlier events of the same agent, on the model and on the configuration, on nothing
    else: not on the cut into batches, not on other agents. Never raises on what an event holds.
    """

    def __init__(self, model: RiskModel, config: RiskConfig = DEFAULT) -> None:
        self._model = model
        self._config = config
        self._score = scorer(model.forest)

    @property
    def version(self) -> str:
        return self._model.version

    def judge(
        self, events: Sequence[tuple[Event, int]], profiles: MutableMapping[str, AgentProfile]
    ) -> list[Assessment | None]:
        """One assessment per event in order, `None` for what is not an action; the `int` is the event's time in us.

        Creates the profiles that are missing.
        """
        measured = [self._measure(event, ts_us, profiles) for event, ts_us in events]
        behaviours = iter(self._behaviours([m.measures for m in measured if m is not None and m.measures is not None]))
        return [
            None if m is None else self._conclude(m, None if m.measures is None else next(behaviours)) for m in measured
        ]

    def _measure(self, event: Event, ts_us: int, profiles: MutableMapping[str, AgentProfile]) -> _Measured | None:
        profile = profiles.get(event.agent_id)
        if profile is None:
            profile = profiles[event.agent_id] = AgentProfile()
        if isinstance(event, Action):
            return self._measure_action(event, ts_us, profile)
        if isinstance(event, Context):
            profile.tracer.ask(event)
        else:
            profile.tracer.hear(event)
            if event.status is OutcomeStatus.ERROR:
                profile.fail()
        return None

    def _measure_action(self, action: Action, ts_us: int, profile: AgentProfile) -> _Measured:
        action, seen, origin = encounter(profile, action, ts_us)
        static = static_of(action)
        known = profile.events
        if not profile.ready:
            profile.take_in(seen, action.session_id, Oddness.NONE)
            return _Measured(static, known, origin, None, reasons_of_origin(origin))
        resource_count = round(profile.resources.get(seen.resource_id, 0.0))
        measures = [feature.measure(profile, seen) for feature in FEATURES]
        reasons = explain(profile, seen, measures, origin)
        profile.take_in(seen, action.session_id, self._oddness(profile, measures))
        return _Measured(static, known, origin, measures, reasons, resource_count)

    def _oddness(self, profile: AgentProfile, measures: list[float]) -> Oddness:
        """By the sum alone, so that what a profile learns does not wait for the forest."""
        tail = np.array([sum(measures)])
        [found] = evidence(tail, self._model.tail_knots, self._model.tail_exceedance)
        if found >= self._config.very_odd_evidence and profile.mature:
            return Oddness.MUCH
        return Oddness.SOME if found >= self._config.odd_evidence else Oddness.NONE

    def _behaviours(self, rows: list[list[float]]) -> list[float]:
        if not rows:
            return []
        scores = self._score(np.array(rows))
        figures = figure(np.array([sum(row) for row in rows]), scores)
        behaviours: list[float] = evidence(figures, self._model.knots, self._model.exceedance).tolist()
        return behaviours

    def _conclude(self, measured: _Measured, behaviour: float | None) -> Assessment:
        static = measured.static
        factors = Factors(
            destructiveness=static.destructiveness,
            sensitivity=static.sensitivity,
            payload=_factor(measured.measures, "payload"),
            rate=_factor(measured.measures, "rate"),
            behaviour=None if behaviour is None else round(behaviour, 4),
            provenance=measured.origin.provenance,
        )
        origin = measured.origin
        risk = fuse(static, behaviour, origin.provenance, origin.granted, self._config)
        return Assessment(
            round(risk, 4),
            factors,
            measured.reasons,
            measured.baseline_events,
            self._model.version,
            measured.resource_count,
        )


def _factor(measures: list[float] | None, name: str) -> float | None:
    if measures is None:
        return None
    return round(min(1.0, max(measures[i] for i in _OF_FACTOR[name]) / NATS_OF_FULL_EVIDENCE), 4)
