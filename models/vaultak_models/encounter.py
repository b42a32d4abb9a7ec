"""An agent and its next action: what is seen of it, and where it came from. The same for judging and for training."""

from __future__ import annotations

import math

import msgspec

from vaultak.policy.static_risk import StaticRisk
from vaultak.wire import Action
from vaultak_models.peers import MAX_NAME, OFTEN, RARE, ROLE_LABEL, Peers
from vaultak_models.profile import AgentProfile
from vaultak_models.provenance.flow import PRIVATE, addresses_stranger, asks_outside, sends
from vaultak_models.provenance.origin import Origin
from vaultak_models.provenance.unseen import takes_unseen
from vaultak_models.sighting import Sighting, fields_of, size_of
from vaultak_models.target import DEFAULT_TARGETS, Target, Targets, whole


def encounter(
    profile: AgentProfile,
    action: Action,
    ts_us: int,
    targets: Targets = DEFAULT_TARGETS,
    peers: Peers | None = None,
) -> tuple[Sighting, StaticRisk, Origin]:
    """Look at an action in its session, and let time pass for the profile; it is not learnt yet."""
    target = targets.of(action.action_type, action.resource)
    static = targets.static_of(action, target)
    met = profile.tracer.encounter(action, target, static.destructiveness)
    profile.advance(ts_us)
    payload, size = action.payload, action.payload_bytes
    usual_kind = usual_place = False
    if peers is not None and action.labels and (role := action.labels.get(ROLE_LABEL)):
        usual_kind, usual_place = _usual(profile, whole(action.agent_id), target, ts_us, peers, whole(role)[:MAX_NAME])
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
        usual_kind,
        usual_place,
    )
    origin = met.origin
    level = takes_unseen(profile.habits.get(target.kind), met.unmentioned, static.destructiveness)
    if level > origin.provenance and profile.ready:
        origin = msgspec.structs.replace(origin, provenance=round(level, 4), unseen=True)
    if target.flows or met.outside:
        level = _way_out(profile, action, target, static, ts_us, outside=met.outside)
        if level > origin.provenance:
            origin = msgspec.structs.replace(origin, provenance=round(level, 4), way_out=True)
    return seen, static, origin


def _usual(
    profile: AgentProfile, agent_id: str, target: Target, ts_us: int, peers: Peers, role: str
) -> tuple[bool, bool]:
    """Of what is new or rare for this agent: whether others of its role do such things, and whether they do so there.

    Of an agent that is always somewhere new, nothing is noted.
    """
    usual_kind = usual_place = False
    telling = not profile.mature or profile.new_groups.mean < OFTEN
    habit = profile.habits.get(target.kind)
    if habit is None or habit.times < RARE:
        thing = f"kind {target.kind}"
        if habit is None and telling:
            peers.saw(role, thing, agent_id, ts_us)
        usual_kind = peers.know(role, thing, agent_id, ts_us)
    if target.group not in profile.groups:
        thing = f"place {target.group}"
        if telling:
            peers.saw(role, thing, agent_id, ts_us)
        usual_place = peers.know(role, thing, agent_id, ts_us)
    return usual_kind, usual_place


def _way_out(
    profile: AgentProfile, action: Action, target: Target, static: StaticRisk, ts_us: int, *, outside: bool
) -> float:
    """How much the action carries private data to a stranger who may have asked for it, see `provenance.flow`."""
    flow, level = profile.tracer.flow, 0.0
    sending = sends(action, static.destructiveness)
    if sending and (flow.armed or not profile.mature):
        session_id = whole(action.session_id)
        stranger = flow.armed and addresses_stranger(
            action, profile.tracer.request_of(session_id), profile.tracer.known, profile.groups, target.group
        )
        level = flow.send(session_id, ts_us, stranger=stranger and profile.ready, learn=not profile.mature)
    private, untrusted = static.sensitivity >= PRIVATE, not sending and asks_outside(action, outside=outside)
    if private or untrusted:
        flow.take_in(whole(action.session_id), ts_us, untrusted=untrusted, private=private)
    return level
