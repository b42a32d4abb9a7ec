"""One action against what was said in its session: who gave the reason for it, and who gave its arguments."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vaultak_models.provenance.known import Known
from vaultak_models.provenance.mentions import Mention
from vaultak_models.provenance.requests import Requests
from vaultak_models.provenance.session import Trace
from vaultak_models.provenance.tokens import token_id
from vaultak_models.provenance.verbs import asking_for, verb_of

HARMLESS, EFFECTFUL = 0.15, 0.4
"""Destructiveness up to which an action only looks, and from which where it came from counts in full."""

SOME_REASON = 0.2
"""When this share of sessions with such a request take such an action, the request is reason enough."""
LEXICAL = 0.6
"""The weight of the words of a request, against having seen a request quite like it (1)."""
FAMILIAR_SESSIONS = 10
"""Past sessions from which "no request like this took such an action" means something in full."""


class Argument(msgspec.Struct, frozen=True):
    """A value of the payload that names something."""

    member: str
    value: str
    place: int
    asked: float
    """The share of its tokens that a request said."""
    heard: float
    """The largest share of its tokens that one output said."""
    told: bool
    """Whether an output that said all of it also said the verb of the tool."""
    known: bool
    """Whether earlier sessions used it in this place."""

    @property
    def foreign(self) -> bool:
        """Said by an output and neither by a request nor in the past."""
        return self.heard >= 1.0 and self.asked < 1.0 and not self.known


class Origin(msgspec.Struct, frozen=True):
    """Where an action came from, each figure in 0..1."""

    provenance: float
    reason: float
    """How much reason the request gives for this kind of action."""
    granted: float
    """How much reason past sessions show that the request gives: without a past it grants nothing."""
    foreign: Argument | None
    """The argument that weighs most among those that only an output said."""
    arguments: list[Argument]
    """All that name something; none when there is nothing to ask."""
    way_out: bool = False
    """Whether the provenance is that of a flow: untrusted input, private data, and now a stranger."""
    unseen: bool = False
    """Whether it is that of a target that nobody named, see `provenance.unseen`."""


NOTHING_TO_ASK = Origin(0.0, 1.0, 0.0, None, [])
"""Of an action that only looks, and not at a web address, and of any in a session without a request."""


def trace_origin(
    resource: str, mentioned: Sequence[Mention], destructiveness: float, trace: Trace, requests: Requests, known: Known
) -> Origin:
    """Judge one action of some effect in a session with a request, before it is added to the trace."""
    effect = min(1.0, (destructiveness - HARMLESS) / (EFFECTFUL - HARMLESS))
    familiar = min(1.0, requests.sessions / FAMILIAR_SESSIONS)
    found = _reason(resource, trace, requests)
    reason = 1.0 - familiar * (1.0 - found)
    arguments = arguments_of(resource, mentioned, trace, known)
    foreign = next((a for a in arguments if a.foreign and a.told), None)
    foreign = foreign or next((a for a in arguments if a.foreign), None)
    granted = 0.0 if foreign is not None and foreign.told else familiar * found
    return Origin(
        round(effect * _weigh(1.0 - reason, arguments), 4), round(reason, 4), round(granted, 4), foreign, arguments
    )


def _weigh(unreasoned: float, arguments: list[Argument]) -> float:
    """An argument from an output that also told to do this weighs even when the request gives reason for the action,
    unless the request named another of its arguments: then it asked for this very action.
    """
    anchored = any(a.asked >= 1.0 for a in arguments)
    if any(a.foreign and a.told for a in arguments):
        return 0.3 + 0.6 * unreasoned if anchored else 0.75 + 0.25 * unreasoned
    if any(a.told and a.asked < 1.0 for a in arguments):
        return 0.3 + 0.5 * unreasoned
    if any(a.foreign for a in arguments):
        return 0.9 * unreasoned
    return (0.6 if anchored else 0.68) * unreasoned


def _reason(resource: str, trace: Trace, requests: Requests) -> float:
    """From requests like this one, and from whether its words ask for what the tool's name says."""
    weights = requests.weights(trace.request)
    share, evidence = requests.plausibility(weights, token_id(resource))
    asking = asking_for(resource)
    words = 0.5 if not asking else float(any(word in trace.request for word in asking))
    usual = min(1.0, share / SOME_REASON)
    return (evidence * usual + LEXICAL * words) / (evidence + LEXICAL)


def arguments_of(resource: str, mentioned: Sequence[Mention], trace: Trace, known: Known) -> list[Argument]:
    """The values that name something, against what was said in the session."""
    verb = verb_of(resource)
    saying_verb = trace.said.get(verb, 0) if verb is not None else 0
    return [_argument(mention, trace, saying_verb, known) for mention in mentioned if mention.names]


def _argument(mention: Mention, trace: Trace, saying_verb: int, known: Known) -> Argument:
    names = mention.names
    masks = [trace.said.get(token, 0) for token in names]
    whole = masks[0]
    for mask in masks:
        whole &= mask
    return Argument(
        member=mention.member,
        value=mention.value,
        place=mention.place,
        asked=sum(token in trace.request for token in names) / len(names),
        heard=1.0 if whole else sum(map(bool, masks)) / (len(masks) + 1),
        told=bool(whole & saying_verb),
        known=known.has(mention.place),
    )
