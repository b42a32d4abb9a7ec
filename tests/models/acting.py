"""Makes events for tests of the models: one line an action."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vaultak.wire import Action, ActionType, Context, ContextSource, Event, Outcome, OutcomeStatus

START_US = 1_770_000_000_000_000
TS = "2026-02-02T02:40:00.000000Z"


class Script:
    """Collects one agent's events; each call is `step_s` after the one before."""

    def __init__(self, agent_id: str = "agent", step_s: float = 0.04, labels: dict[str, str] | None = None) -> None:
        self.agent_id = agent_id
        self.labels = labels or {}
        self.step_s = step_s
        self.session_id = "s1"
        self.events: list[tuple[Event, int]] = []
        self._ts_us = START_US

    def wait(self, seconds: float) -> None:
        self._ts_us += int(seconds * 1e6)

    def act(self, action_type: str, resource: str, **payload: Any) -> str:
        action_id = f"{self.agent_id}-{len(self.events)}"
        self._add(
            Action(
                **self._common(),
                action_id=action_id,
                action_type=ActionType(action_type),
                resource=resource,
                payload=payload,
                labels=self.labels,
            )
        )
        return action_id

    def came_of_it(self, content: str, status: OutcomeStatus = OutcomeStatus.OK) -> None:
        self._add(Outcome(**self._common(), action_id="any", status=status, content=content))

    def asked(self, content: str) -> None:
        self._add(Context(**self._common(), source=ContextSource.USER, content=content))

    def _common(self) -> dict[str, Any]:
        return {"schema_version": 1, "agent_id": self.agent_id, "session_id": self.session_id, "ts": TS}

    def _add(self, event: Event) -> None:
        self._ts_us += int(self.step_s * 1e6)
        self.events.append((event, self._ts_us))


def interleaved(scripts: Iterable[Script]) -> Iterator[tuple[Event, int]]:
    """The events of several agents, one of each in turn."""
    queues = [list(script.events) for script in scripts]
    for index in range(max(len(queue) for queue in queues)):
        for queue in queues:
            if index < len(queue):
                yield queue[index]
