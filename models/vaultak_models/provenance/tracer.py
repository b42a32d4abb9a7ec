"""All sessions of one agent, and what it learns from those that are over."""

from __future__ import annotations

import msgspec

from vaultak.wire import Action, ActionType, Context, Outcome
from vaultak_models.provenance.flow import Flow
from vaultak_models.provenance.known import Known, Place
from vaultak_models.provenance.mentions import Mention, mentions
from vaultak_models.provenance.origin import EFFECTFUL, HARMLESS, NOTHING_TO_ASK, Origin, arguments_of, trace_origin
from vaultak_models.provenance.requests import Requests
from vaultak_models.provenance.session import MAX_SESSIONS, Trace
from vaultak_models.target import Target

SUSPECT = 0.6
"""A session with an action of this provenance says nothing of what its request gives reason for, lest an attack that
is tried again become a habit."""
DOUBTFUL = 0.4
"""From here on its arguments do not become known."""
LEARNING_SESSIONS = 30
"""The first sessions are learnt from as they are: there is nothing yet to tell right from wrong by."""
MAX_PLACES = 64


_TOOL_CALL = ActionType.TOOL_CALL


class Session(msgspec.Struct, array_like=True):
    trace: Trace = msgspec.field(default_factory=Trace)
    places: list[Place] = []
    suspect: bool = False


class Encounter(msgspec.Struct, gc=False):
    """What a session says of an action."""

    unmentioned: tuple[str, ...]
    """Members of the payload that name what nobody named before."""
    repeats: int
    """How often this kind of action came before."""
    origin: Origin
    outside: bool
    """Whether it is a tool that its payload sends to a web address."""


class Tracer(msgspec.Struct, array_like=True):
    """At most `MAX_SESSIONS` sessions are open; the one that was silent longest is closed, and learnt from."""

    sessions: dict[str, Session] = {}
    requests: Requests = msgspec.field(default_factory=Requests)
    known: Known = msgspec.field(default_factory=Known)
    flow: Flow = msgspec.field(default_factory=Flow)

    def encounter(self, action: Action, target: Target, destructiveness: float) -> Encounter:
        """Look at an action in its session; it is part of the session from then on."""
        session = self._session(action.session_id)
        trace = session.trace
        mentioned = mentions(action.payload)
        repeats = trace.kinds.get(target.token, 0)
        unmentioned = _unmentioned(mentioned, trace) if mentioned else ()
        outside = _reaches_out(mentioned) if mentioned and action.action_type is _TOOL_CALL else False
        origin = NOTHING_TO_ASK
        if trace.request and (outside or destructiveness > HARMLESS):
            # Whoever owns an address learns from the question what is in it, and answers what he likes.
            weight = destructiveness if destructiveness > HARMLESS else EFFECTFUL
            origin = trace_origin(target.resource, mentioned, weight, trace, self.requests, self.known)
        if origin.provenance >= SUSPECT and not session.suspect:
            session.suspect = self.requests.sessions >= LEARNING_SESSIONS
        if mentioned and len(session.places) < MAX_PLACES:
            session.places += self._places(target.resource, mentioned, origin, trace)
            del session.places[MAX_PLACES:]
        trace.use(target.token, mentioned)
        return Encounter(unmentioned, repeats, origin, outside)

    def _places(self, resource: str, mentioned: list[Mention], origin: Origin, trace: Trace) -> list[int]:
        """Where the action has values that the session may teach."""
        learning = self.requests.sessions < LEARNING_SESSIONS
        if origin.provenance >= DOUBTFUL and not learning:
            return []
        if learning or not trace.said:
            return [mention.place for mention in mentioned if mention.names]
        arguments = origin.arguments or arguments_of(resource, mentioned, trace, self.known)
        return [a.place for a in arguments if not (a.foreign or a.told)]

    def request_of(self, session_id: str) -> dict[int, int]:
        """Tokens of what the user asked for."""
        return self._session(session_id).trace.request

    def hear(self, outcome: Outcome) -> None:
        self._session(outcome.session_id).trace.hear(outcome.content or outcome.error)

    def ask(self, context: Context) -> None:
        self._session(context.session_id).trace.ask(context.content)

    def _session(self, session_id: str) -> Session:
        if not session_id.isascii():
            session_id = session_id.encode(errors="replace").decode()
        sessions = self.sessions
        session = sessions.get(session_id)
        if session is not None and next(reversed(sessions)) == session_id:
            return session
        session = sessions.pop(session_id, None)
        if session is None:
            session = Session()
            while len(self.sessions) >= MAX_SESSIONS:
                self._close(self.sessions.pop(next(iter(self.sessions))))
        self.sessions[session_id] = session
        return session

    def _close(self, session: Session) -> None:
        if not session.suspect:
            self.requests.learn(session.trace.request, session.trace.kinds)
        self.known.learn(session.places)


def _reaches_out(mentioned: list[Mention]) -> bool:
    """Whether an action asks at a web address, even if it only looks."""
    return bool([mention for mention in mentioned if mention.outside])


def _unmentioned(mentioned: list[Mention], trace: Trace) -> tuple[str, ...]:
    """Members that name what nobody named before."""
    request, said, used = trace.request, trace.said, trace.used
    fresh = []
    for mention in mentioned:
        for token in mention.names:
            if token in used or token in said or token in request:
                break
        else:
            if mention.names:
                fresh.append(mention.short_member)
    return tuple(dict.fromkeys(fresh))[:8] if fresh else ()
