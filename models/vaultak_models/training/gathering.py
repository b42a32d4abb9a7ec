"""Events in, rows to train with out: the engine that judges measures them, and what it judges bad is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping, Sequence
from typing import Any

from msgspec import UnsetType

from vaultak.wire import SEVERITY, Action, Decision, Event, Outcome, OutcomeStatus
from vaultak_models.engine import RiskEngine
from vaultak_models.exits import scorer
from vaultak_models.forest import Floats
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile
from vaultak_models.training.sample import Row, Sample, order_of

BAD_RISK = 0.7
"""What the default policy pauses."""
QUARANTINE_US = 3_600_000_000
"""The rest of a session is left out this long before and after an action that was bad."""
MAX_BAD = 200_000
"""Hours of sessions that are remembered as bad; beyond, whole agents are."""

_STOPPING = frozenset(decision.value for decision in Decision if SEVERITY[decision] >= SEVERITY[Decision.PAUSE])
_STOPPED = (OutcomeStatus.DENIED, OutcomeStatus.PAUSED, OutcomeStatus.REVERSED)


class Gathering:
    """Feed it events in the order in which they came; then ask for `rows`.

    An action does not train when the model in force gives it a risk of 0.7 or more, when it was stopped where it
    happened or by the pipeline (`mark_bad`), or when another action of its session was within the hour.
    """

    def __init__(
        self,
        model: RiskModel,
        profiles: MutableMapping[str, AgentProfile] | None = None,
        sample: Sample | None = None,
    ) -> None:
        """`model` is the one in force. `profiles`: where those of training are kept, empty; default: all in memory."""
        self._measured: list[list[float]] = []
        self._score = scorer(model.forest)
        self._engine = RiskEngine(model, score=self._capture)
        self._profiles = {} if profiles is None else profiles
        self._sample = Sample() if sample is None else sample
        self._bad: set[tuple[int, int]] = set()
        self._bad_agents: set[str] = set()
        self.counters: Counter[str] = Counter()
        """`events`, `actions`, `ready` (those with a baseline to compare with), `bad`."""
        self.first_us = 0
        self.last_us = 0

    @property
    def agents(self) -> int:
        """Of which there are rows."""
        return self._sample.agents

    def feed(self, events: Sequence[tuple[Event, int]]) -> None:
        """Take in a batch; each event with its time in us."""
        self._measured.clear()
        assessments = self._engine.judge(events, self._profiles)
        measured = iter(self._measured)
        for (event, ts_us), assessment in zip(events, assessments, strict=True):
            self._note_time(ts_us)
            if isinstance(event, Action):
                assert assessment is not None
                self.counters["actions"] += 1
                if assessment.factors.behaviour is not None:
                    self._keep(event, ts_us, next(measured))
                if assessment.risk >= BAD_RISK or _stopped_there(event):
                    self.mark_bad(event.agent_id, event.session_id, ts_us)
            elif isinstance(event, Outcome) and event.status in _STOPPED:
                self.mark_bad(event.agent_id, event.session_id, ts_us)
        self.counters["events"] += len(events)

    def mark_bad(self, agent_id: str, session_id: str, ts_us: int) -> None:
        """Someone found an action of this session bad, at that time."""
        self.counters["bad"] += 1
        if len(self._bad) < MAX_BAD:
            self._bad.add((order_of(agent_id, session_id), ts_us // QUARANTINE_US))
        else:
            self._bad_agents.add(agent_id)

    def rows(self) -> tuple[list[Row], int]:
        """The rows to train with, and how many of the sample were left out."""
        kept = self._sample.rows()
        good = [row for row in kept if not self._spoilt(row)]
        return good, len(kept) - len(good)

    def _capture(self, rows: Floats) -> Any:
        self._measured.extend(rows.tolist())
        return self._score(rows)

    def _keep(self, action: Action, ts_us: int, measures: list[float]) -> None:
        self.counters["ready"] += 1
        order = order_of(action.agent_id, action.session_id, action.action_id)
        self._sample.add(Row(order, action.agent_id, action.session_id, ts_us, tuple(measures)))

    def _spoilt(self, row: Row) -> bool:
        if row.agent_id in self._bad_agents:
            return True
        session, hour = order_of(row.agent_id, row.session_id), row.ts_us // QUARANTINE_US
        return any((session, near) in self._bad for near in (hour - 1, hour, hour + 1))

    def _note_time(self, ts_us: int) -> None:
        self.first_us = min(self.first_us or ts_us, ts_us)
        self.last_us = max(self.last_us, ts_us)


def _stopped_there(action: Action) -> bool:
    return not isinstance(action.local, UnsetType) and action.local.decision in _STOPPING
