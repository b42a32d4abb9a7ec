"""What is new for an agent of a role, told to the workers that judge others of it: topic `vaultak.baselines`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from vaultak.wire.events import AgentId


class PeerSighting(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An agent of a role did something for the first time. Believed only when its signature holds.

    The key is `role`, `thing` and `agent_id`, each followed by a line feed.
    """

    role: Annotated[str, Meta(min_length=1, max_length=64)]
    """The agent's label `role`."""
    thing: Annotated[str, Meta(min_length=1, max_length=512)]
    """`kind ...` or `place ...`: a sort of action, or a directory, host, table or tool."""
    agent_id: AgentId
    ts_us: Annotated[int, Meta(ge=0)]
    """When it first did, in microseconds since the epoch."""
    signature: str = ""
    key_id: str = ""
