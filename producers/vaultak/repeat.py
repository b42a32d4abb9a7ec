"""What an agent does over and over: the same kind of action on the same resource, allowed with nothing to say.

Judging is a pure function of what such an action is, so the next one is not judged from scratch: as long as the policy
and the agent's state are the same, it is allowed, and its event is written from the members that were encoded before.
Nothing is kept for actions that are counted, denied, alerted on, or whose payload may differ.
"""

from __future__ import annotations

import msgspec

from vaultak.chain import Chain, Write
from vaultak.policy.evaluate import CompiledPolicy
from vaultak.wire import Local

MAX_REPEATS = 1024
"""Remembered for one monitor; beyond it the memory starts afresh."""


class Fixed(dict[str, str]):
    """A payload that its maker hands out many times and never changes: being the same object, it is the same."""

    __slots__ = ()


class Repeat(msgspec.Struct, frozen=True):
    """An allowed action, ready to be allowed and put on record again."""

    payload: Fixed
    policy: CompiledPolicy
    """Under which it was judged."""
    chain: Chain
    """For which it was encoded: a forked child writes another one."""
    local: Local
    write: Write
    head: bytes
    """Its event: how to write it, and what to say first. See `vaultak.chain.Chain.bind`."""
