"""An agent and its next action: what is seen of it, and where it came from. The same for judging and for training."""

from __future__ import annotations

import math

from vaultak.policy.static_risk import StaticRisk
from vaultak.wire import Action
from vaultak_models.profile import AgentProfile
from vaultak_models.provenance.origin import Origin
from vaultak_models.sighting import Sighting, fields_of, size_of
from vaultak_models.target import static_of, target_of


def encounter(profile: AgentProfile, action: Action, ts_us: int) -> tuple[Sighting, StaticRisk, Origin]:
    """Look at an action in its session, and let time pass for the profile; it is not learnt yet."""
    target = target_of(action.action_type, action.resource)
    static = static_of(action, target)
    met = profile.tracer.encounter(action, target, static.destructiveness)
    profile.advance(ts_us)
    payload, size = action.payload, action.payload_bytes
    seen = Sighting(
        target.kind,
        target.resource,
        target.resource_id,
        target.group,
        math.log1p(size if isinstance(size, int) else size_of(payload)),
        fields_of(payload) if payload else (),
        (ts_us // 3_600_000_000) % 24,
        ts_us,
        static.destructiveness,
        static.sensitivity,
        met.unmentioned,
        met.repeats,
    )
    return seen, static, met.origin
