"""What agents of one role do: a tool, table or host that several of them have used is less odd for the next one.

Whatever is new for an agent is noted under its role (the label `role`), with the time. It counts for the others of the
role once two of them have done it, and only an hour after the second did: an attack on many agents at once does not
vouch for itself while it goes on. Which sightings are known decides, not in which order they came.
"""

from __future__ import annotations

from bisect import insort

from vaultak.wire import PeerSighting

ROLE_LABEL = "role"
NEEDED = 2
"""Other agents that must have done a thing."""
SETTLED_US = 3_600_000_000
MAX_ROLES = 256
MAX_THINGS = 512
"""Of a role; beyond it the one first noted makes room."""
MAX_NAME = 64
RARE = 16
"""An agent that has done a kind of thing so often needs nobody to say that it is usual."""
OFTEN = 0.1
"""A share of actions in new places from which an agent's news are no news."""
USUAL = 0.3
"""The most nats that novelty counts for what peers do."""


class Peers:
    """The first sightings of each thing by role. Bounded; merging is commutative, associative and idempotent."""

    def __init__(self) -> None:
        self._roles: dict[str, dict[str, list[tuple[int, str]]]] = {}
        self._news: list[PeerSighting] = []
        self.forgotten = 0
        """Things that made room for others."""

    def saw(self, role: str, thing: str, agent_id: str, ts_us: int) -> None:
        """An agent judged here did a thing (`kind ...`, `place ...`) that is new for it."""
        sighting = PeerSighting(role=role, thing=thing, agent_id=agent_id, ts_us=ts_us)
        if self.merge(sighting):
            self._news.append(sighting)

    def merge(self, sighting: PeerSighting) -> bool:
        """Take in a sighting, from here or elsewhere; whether that adds to what is known."""
        things = self._roles.get(sighting.role)
        if things is None:
            if len(self._roles) >= MAX_ROLES:
                self._roles.pop(next(iter(self._roles)))
            things = self._roles[sighting.role] = {}
        first = things.get(sighting.thing)
        if first is None:
            if len(things) >= MAX_THINGS:
                things.pop(next(iter(things)))
                self.forgotten += 1
            first = things[sighting.thing] = []
        for place, (ts_us, agent_id) in enumerate(first):
            if agent_id == sighting.agent_id:
                if ts_us <= sighting.ts_us:
                    return False
                del first[place]
                break
        else:
            if len(first) > NEEDED and first[-1] <= (sighting.ts_us, sighting.agent_id):
                return False
        insort(first, (sighting.ts_us, sighting.agent_id))
        del first[NEEDED + 1 :]
        return True

    def know(self, role: str, thing: str, agent_id: str, ts_us: int) -> bool:
        """Whether enough other agents of the role did the thing, long enough before."""
        first = self._roles.get(role, _NOTHING).get(thing)
        if first is None:
            return False
        settled = ts_us - SETTLED_US
        return sum(at_us <= settled and other != agent_id for at_us, other in first) >= NEEDED

    def take_news(self) -> list[PeerSighting]:
        """What was seen here since the last call and is news for other workers."""
        news, self._news = self._news, []
        return news


_NOTHING: dict[str, list[tuple[int, str]]] = {}
