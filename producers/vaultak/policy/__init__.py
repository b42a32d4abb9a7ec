"""Policies: what an agent may do, decided before it does it. Pure: no clock, no I/O."""

from vaultak.policy.settings import KillSwitchMode, PolicySettings

__all__ = ["KillSwitchMode", "PolicySettings"]
