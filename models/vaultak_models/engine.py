"""The risk engine: judges actions against the profiles of their agents, and lets the profiles learn."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence

import msgspec
import numpy as np

from vaultak.policy.static_risk import RiskTables, StaticRisk, StaticRiskModel
from vaultak.wire import Action, Context, Contribution, Event, Factors, OutcomeStatus
from vaultak_models.encounter import encounter
from vaultak_models.exits import scorer
from vaultak_models.explanation import LEAST, NATS_OF_FULL_EVIDENCE, explain, reasons_of_origin
from vaultak_models.features import FEATURES
from vaultak_models.forest import Floats
from vaultak_models.model import RiskModel
from vaultak_models.peers import Peers
from vaultak_models.profile import READY_AFTER, AgentProfile, Oddness
from vaultak_models.provenance.origin import Origin
from vaultak_models.risk import DEFAULT, RiskConfig, Stakes, evidence, figure, fuse, fuse_unready, reach
from vaultak_models.sighting import Sighting
from vaultak_models.target import DEFAULT_TARGETS, Targets

_MEASURES = [feature.measure for feature in FEATURES]
_NOT_ODD = Oddness.NONE
_PAYLOAD, _RATE = ([i for i, f in enumerate(FEATURES) if f.factor == name] for name in ("payload", "rate"))


class Assessment(msgspec.Struct, frozen=True, gc=False):
    """What the engine says of one action."""

    risk: float
    factors: Factors
    explanation: tuple[Contribution, ...]
    baseline_events: int
    model_version: str
    resource_count: int | None = None
    """How often the agent used this resource before, as far as its baseline remembers; `None` until that is ready."""


class _Measured(msgspec.Struct, gc=False):
    """What is kept of an action until the whole batch is scored."""

    place: int
    """In the batch."""
    stakes: tuple[float, float, float, float, float]
    """As `Stakes`, of one action."""
    baseline_events: int
    measures: list[float]
    total: float
    """Of the measures."""
    reasons: tuple[Contribution, ...]
    resource_count: int


class RiskEngine:
    """Judges with one model. Holds no state of its own: that is in the profiles, and in `peers`.

    An assessment depends on the earlier events of the same agent, on the model and on the configuration, and for an
    agent with a role on what others of that role had done an hour before; on nothing else, not on the cut into
    batches. Never raises on what an event holds.
    """

    def __init__(
        self,
        model: RiskModel,
        config: RiskConfig = DEFAULT,
        *,
        tables: RiskTables | None = None,
        score: Callable[[Floats], Floats] | None = None,
        peers: Peers | None = None,
    ) -> None:
        """`tables`: a deployment's own; `score`: another way to score rows by the model's forest, for comparisons;
        `peers`: what agents of the same role are known to do, which judging adds to."""
        self._targets = DEFAULT_TARGETS if tables is None else Targets(StaticRiskModel(tables))
        self._model = model
        self._config = config
        self.peers = Peers() if peers is None else peers
        self._score = score or scorer(model.forest)
        self._odd = reach(config.odd_evidence, model.tail_knots, model.tail_exceedance)
        self._very_odd = reach(config.very_odd_evidence, model.tail_knots, model.tail_exceedance)

    @property
    def version(self) -> str:
        return self._model.version

    def judge(
        self, events: Sequence[tuple[Event, int]], profiles: MutableMapping[str, AgentProfile]
    ) -> list[Assessment | None]:
        """One assessment per event in order, `None` for what is not an action; the `int` is the event's time in us.

        Creates the profiles that are missing.
        """
        result: list[Assessment | None] = [None] * len(events)
        measured: list[_Measured] = []
        for place, (event, ts_us) in enumerate(events):
            profile = profiles.get(event.agent_id)
            if profile is None:
                profile = profiles[event.agent_id] = AgentProfile()
            if isinstance(event, Action):
                seen, static, origin = encounter(profile, event, ts_us, self._targets, self.peers)
                if profile.events >= READY_AFTER:
                    measured.append(self._measure(place, profile, event, seen, static, origin))
                else:
                    result[place] = self._unready(profile.events, static, origin)
                    profile.take_in(seen, event.session_id, _NOT_ODD)
            elif isinstance(event, Context):
                profile.tracer.ask(event)
            else:
                profile.tracer.hear(event)
                if event.status is OutcomeStatus.ERROR:
                    profile.fail()
        if measured:
            self._conclude(measured, result)
        return result

    def _measure(
        self, place: int, profile: AgentProfile, action: Action, seen: Sighting, static: StaticRisk, origin: Origin
    ) -> _Measured:
        habit = profile.habits.get(seen.kind)
        measures = [measure(profile, seen, habit) for measure in _MEASURES]
        total = sum(measures)
        measured = _Measured(
            place,
            (static.destructiveness, static.sensitivity, static.risk, origin.provenance, origin.granted),
            profile.events,
            measures,
            total,
            explain(profile, seen, habit, measures, origin) if total >= LEAST or origin.provenance else (),
            profile.resources.get(seen.resource_id, 0),
        )
        # By the sum alone, so that what a profile learns does not wait for the forest.
        oddness = _NOT_ODD
        if total >= self._odd or origin.unseen:
            much = (total >= self._very_odd or origin.unseen) and profile.mature
            oddness = Oddness.MUCH if much else Oddness.SOME
        profile.take_in(seen, action.session_id, oddness)
        return measured

    def _unready(self, events: int, static: StaticRisk, origin: Origin) -> Assessment:
        factors = Factors(static.destructiveness, static.sensitivity, None, None, None, origin.provenance)
        risk = round(fuse_unready(static.risk, origin.provenance), 4)
        return Assessment(risk, factors, reasons_of_origin(origin), events, self._model.version)

    def _conclude(self, measured: list[_Measured], result: list[Assessment | None]) -> None:
        rows = np.array([m.measures for m in measured])
        figures = figure(np.array([m.total for m in measured]), self._score(rows))
        behaviour = evidence(figures, self._model.knots, self._model.exceedance)
        payload, rate = (np.minimum(rows[:, of].max(axis=1) / NATS_OF_FULL_EVIDENCE, 1.0) for of in (_PAYLOAD, _RATE))
        risk = fuse(Stakes(*np.array([m.stakes for m in measured]).T), behaviour, self._config)
        shown = [np.round(column, 4).tolist() for column in (risk, payload, rate, behaviour)]
        version = self._model.version
        for m, risk, payload, rate, behaviour in zip(measured, *shown, strict=True):
            destructiveness, sensitivity, _, provenance, _ = m.stakes
            factors = Factors(destructiveness, sensitivity, payload, rate, behaviour, provenance)
            result[m.place] = Assessment(risk, factors, m.reasons, m.baseline_events, version, m.resource_count)
