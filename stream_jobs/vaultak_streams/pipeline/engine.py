"""What the pipeline asks of a risk engine and of the profiles it keeps: the seam to `vaultak_models`."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Protocol, TypeVar

from vaultak.wire import Contribution, Event, Factors


class Profile(Protocol):
    """What is known of one agent. Bounded in size; `to_bytes` and its inverse lose nothing."""

    def to_bytes(self) -> bytes: ...


class Assessment(Protocol):
    """What an engine says of one action."""

    @property
    def risk(self) -> float: ...
    @property
    def factors(self) -> Factors: ...
    @property
    def explanation(self) -> tuple[Contribution, ...]: ...
    @property
    def baseline_events(self) -> int: ...
    @property
    def model_version(self) -> str: ...
    @property
    def resource_count(self) -> int | None:
        """How often this agent has used the resource before; `None` while its baseline is not ready."""
        ...


P = TypeVar("P", bound=Profile)


class Engine(Protocol[P]):
    """Judges events against the profiles of their agents, and lets the profiles learn from them.

    The result must not depend on how a sequence is cut into calls, nor on the events of other agents.
    """

    @property
    def version(self) -> str: ...

    def judge(
        self, events: Sequence[tuple[Event, int]], profiles: MutableMapping[str, P]
    ) -> Sequence[Assessment | None]:
        """One assessment per event in order, `None` for what is not an action. The `int` is the event's time in us.

        Creates the profile of an agent it has not seen.
        """
        ...
