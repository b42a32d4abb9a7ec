"""All sessions of one agent, and what it learns from those that are over."""

from __future__ import annotations

import msgspec

from vaultak.wire import Action, Context, Outcome
from vaultak_models.provenance.known import Known, place_of
from vaultak_models.provenance.origin import Origin, trace_origin
from vaultak_models.provenance.requests import Requests
from vaultak_models.provenance.session import MAX_SESSIONS, Trace
from vaultak_models.provenance.tokens import leaves, name_of, token_id

SUSPECT = 0.6
"""A session with an action of this provenance says nothing of what its request gives reason for, lest an attack that
is tried again become a habit."""
DOUBTFUL = 0.4
"""From here on its arguments do not become known."""
LEARNING_SESSIONS = 30
"""The first sessions are learnt from as they are: there is nothing yet to tell right from wrong by."""
MAX_PLACES = 64


class Session(msgspec.Struct, array_like=True):
    trace: Trace = msgspec.field(default_factory=Trace)
    places: list[int] = []
    suspect: bool = False


class Tracer(msgspec.Struct, array_like=True):
    """At most `MAX_SESSIONS` sessions are open; the one that was silent longest is closed, and learnt from."""

    sessions: dict[str, Session] = {}
    requests: Requests = msgspec.field(default_factory=Requests)
    known: Known = msgspec.field(default_factory=Known)

    def judge(self, action: Action, destructiveness: float) -> Origin:
        """Where an action came from; it is part of the session from then on."""
        session = self._session(action.session_id)
        kind = token_id(action.resource)
        origin = trace_origin(action, destructiveness, session.trace, self.requests, self.known)
        learning = self.requests.sessions < LEARNING_SESSIONS
        session.suspect = session.suspect or (origin.provenance >= SUSPECT and not learning)
        if origin.provenance < DOUBTFUL or learning:
            places = (place_of(a.member, a.value) for a in origin.arguments if learning or not (a.foreign or a.told))
            session.places.extend(places)
            del session.places[MAX_PLACES:]
        session.trace.use(kind, named_by(action))
        return origin

    def situation(self, action: Action) -> tuple[tuple[str, ...], int]:
        """Members of the payload that name what nobody named before, and how often this kind of action came."""
        trace = self._session(action.session_id).trace
        fresh: dict[str, None] = {}
        for member, value in leaves(action.payload):
            names, _ = name_of(value)
            if names and not any(trace.named(token) for token in names):
                fresh[member[:24].encode(errors="replace").decode()] = None
        return tuple(fresh)[:8], trace.kinds.get(token_id(action.resource), 0)

    def hear(self, outcome: Outcome) -> None:
        self._session(outcome.session_id).trace.hear(outcome.content or outcome.error)

    def ask(self, context: Context) -> None:
        self._session(context.session_id).trace.ask(context.content)

    def _session(self, session_id: str) -> Session:
        session_id = session_id.encode(errors="replace").decode()
        session = self.sessions.pop(session_id, None)
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


def named_by(action: Action) -> list[int]:
    """The tokens of what an action's arguments name."""
    found: list[int] = []
    for _, value in leaves(action.payload):
        names, addresses = name_of(value)
        found += names or addresses
    return found
