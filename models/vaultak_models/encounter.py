"""An agent and its next action: what is seen of it, and where it came from. The same for judging and for training."""

from __future__ import annotations

import msgspec

from vaultak.wire import Action
from vaultak_models.profile import AgentProfile
from vaultak_models.provenance.origin import Origin
from vaultak_models.sighting import Sighting, sight


def encounter(profile: AgentProfile, action: Action, ts_us: int) -> tuple[Action, Sighting, Origin]:
    """Look at an action in its session, and let time pass for the profile; it is not learnt yet."""
    action = _clean(action)
    seen = sight(action, ts_us)
    unmentioned, repeats, origin = profile.tracer.encounter(action, seen.destructiveness)
    profile.advance(ts_us)
    return action, msgspec.structs.replace(seen, unmentioned=unmentioned, repeats=repeats), origin


def _clean(action: Action) -> Action:
    """Half characters, which JSON can spell and UTF-8 cannot, replaced: the profile is saved as UTF-8."""
    if all(text.isascii() for text in (action.resource, action.session_id)) and all(map(str.isascii, action.payload)):
        return action
    return msgspec.structs.replace(
        action,
        resource=_replaced(action.resource),
        session_id=_replaced(action.session_id),
        payload={_replaced(str(name)): value for name, value in action.payload.items()},
    )


def _replaced(text: str) -> str:
    return text.encode(errors="replace").decode()
