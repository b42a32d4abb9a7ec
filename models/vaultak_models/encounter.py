"""An agent and its next action: what is seen of it, and where it came from. The same for judging and for training."""

from __future__ import annotations

import msgspec

from vaultak.wire import Action
from vaultak_models.profile import AgentProfile
from vaultak_models.provenance.origin import Origin
from vaultak_models.sighting import Sighting, sight


def encounter(profile: AgentProfile, action: Action, ts_us: int) -> tuple[Sighting, Origin]:
    """Look at an action in its session, and let time pass for the profile; it is not learnt yet."""
    seen = sight(action, ts_us)
    unmentioned, repeats = profile.tracer.situation(action)
    origin = profile.tracer.judge(action, seen.destructiveness)
    profile.advance(ts_us)
    return msgspec.structs.replace(seen, unmentioned=unmentioned, repeats=repeats), origin
