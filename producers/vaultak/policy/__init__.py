"""Policies: what an agent may do, decided before it does it. Pure: no clock, no I/O."""

from vaultak.policy.evaluate import RATE_WINDOW_S, CompiledPolicy, LocalVerdict, further_resources
from vaultak.policy.load import load_policy
from vaultak.policy.resources import ResourceMatcher
from vaultak.policy.settings import KillSwitchMode, PolicySettings
from vaultak.policy.static_risk import RiskTables, StaticRisk, StaticRiskModel, static_risk

__all__ = [
    "RATE_WINDOW_S",
    "CompiledPolicy",
    "KillSwitchMode",
    "LocalVerdict",
    "PolicySettings",
    "ResourceMatcher",
    "RiskTables",
    "StaticRisk",
    "StaticRiskModel",
    "further_resources",
    "load_policy",
    "static_risk",
]
