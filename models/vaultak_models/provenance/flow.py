"""The way out: who took in what strangers wrote, and what is private, should not then carry something to a stranger.

None of the three is bad by itself. Each leaves a level behind that halves with time; sessions of one agent share them
in part, for what was read in one may be remembered in the next.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from vaultak.wire import Action, ActionType
from vaultak_models.baseline import tally
from vaultak_models.baseline.moments import Time
from vaultak_models.baseline.tally import Count
from vaultak_models.provenance.known import Known
from vaultak_models.provenance.mentions import mentions
from vaultak_models.provenance.origin import EFFECTFUL
from vaultak_models.provenance.tokens import SHORT, forms, token_id

PRIVATE = 0.7
"""Sensitivity from which what an action touches is private."""
HALF_LIFE_S = 1800.0
OTHER_SESSION = 0.6
"""How much counts of what another session of the agent took in."""
WEIGHT = 0.9
"""Of a flow whose three parts have just happened in one session."""
USUAL_SHARE = 0.1
"""An agent that in its first weeks sent so many of its sendings after such a way does so by trade."""
LEAST_LEVEL = 0.05
_SENDING = (ActionType.MESSAGE_SEND, ActionType.API_CALL, ActionType.NETWORK_REQUEST)
_TOOL_CALL, _MESSAGE_SEND = ActionType.TOOL_CALL, ActionType.MESSAGE_SEND
_ASKING = ("GET", "HEAD", "OPTIONS")
Level = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Intake(msgspec.Struct, array_like=True):
    """When something was last taken in, and by which session."""

    at_us: Time = 0
    session_id: str = ""

    def level(self, session_id: str, now_us: int) -> float:
        """0: never, or long ago; 1: just now, in this session."""
        if not self.at_us:
            return 0.0
        decayed: float = 0.5 ** (max(0, now_us - self.at_us) / (HALF_LIFE_S * 1e6))
        return decayed if session_id == self.session_id else OTHER_SESSION * decayed


class Flow(msgspec.Struct, array_like=True):
    """What an agent has taken in, and how usual it is for it to send something after that. Under 1 KiB."""

    untrusted: Intake = msgspec.field(default_factory=Intake)
    private: Intake = msgspec.field(default_factory=Intake)
    sendings: Count = 0
    ways: Count = 0
    """Sendings of the first weeks to strangers after both intakes."""

    @property
    def armed(self) -> bool:
        """Whether both were taken in at some time."""
        return self.untrusted.at_us != 0 and self.private.at_us != 0

    def send(self, session_id: str, now_us: int, *, stranger: bool, learn: bool) -> float:
        """How much a sending completes a way out, 0..`WEIGHT`.

        `stranger`: whether it goes to somebody whom neither the request nor the past names. `learn`: whether the
        agent is so young that what it does is its usual work.
        """
        level = 0.0
        if stranger:
            level = self.untrusted.level(session_id, now_us) * self.private.level(session_id, now_us)
        if learn:
            self.sendings += 1
            self.ways += level >= LEAST_LEVEL
        usual = min(1.0, self.ways / (USUAL_SHARE * (self.sendings + 10)))
        return WEIGHT * level * (1.0 - usual) if level >= LEAST_LEVEL else 0.0

    def take_in(self, session_id: str, now_us: int, *, untrusted: bool, private: bool) -> None:
        if untrusted:
            self.untrusted = Intake(now_us, session_id)
        if private:
            self.private = Intake(now_us, session_id)


def matters(action_type: ActionType, destructiveness: float, sensitivity: float) -> bool:
    """Whether such an action can be part of a way out, unless its payload names a web address: then it always can."""
    if action_type in _SENDING or sensitivity >= PRIVATE:
        return True
    return action_type is ActionType.TOOL_CALL and destructiveness >= EFFECTFUL


def sends(action: Action, destructiveness: float) -> bool:
    """Whether an action carries something away, rather than asking for something."""
    kind = action.action_type
    if kind is _TOOL_CALL:
        return destructiveness >= EFFECTFUL
    if kind not in _SENDING:
        return False
    method = action.payload.get("method")
    return kind is _MESSAGE_SEND or not isinstance(method, str) or method.upper() not in _ASKING


def asks_outside(action: Action, *, outside: bool) -> bool:
    """Whether strangers may have written what the action brings, should it be one that asks.

    `outside`: whether its payload names a web address.
    """
    kind = action.action_type
    if kind is ActionType.NETWORK_REQUEST or kind is ActionType.API_CALL:
        return "://" in action.resource
    return outside and kind is ActionType.TOOL_CALL


def addresses_stranger(action: Action, request: dict[int, int], known: Known, places: tally.Tally, place: str) -> bool:
    """Whether an action goes to an address that neither the request nor the past names.

    `places`: the hosts and tools that the agent knows; `place`: that of this action.
    """
    if "://" in place:
        host = forms(place.partition("://")[2][:SHORT].lower())
        return place not in places and not all(token_id(part) in request for part in host)
    return any(
        mention.address and not known.has(mention.place) and not all(token in request for token in mention.names)
        for mention in mentions(action.payload)
    )
