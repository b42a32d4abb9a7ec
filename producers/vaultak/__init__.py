"""Runtime security for AI agents: every action is judged before it runs, and can be stopped and undone.

    from vaultak import Vaultak, KillSwitchMode

    vt = Vaultak(blocked_resources=["*.env"], mode=KillSwitchMode.PAUSE)
    with vt.monitor("my-agent"):
        run_my_agent()

Names load when they are first used: importing `vaultak` costs little and loads no Kafka client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaultak.audit import AuditEntry
    from vaultak.client import Vaultak
    from vaultak.errors import (
        ActionBlockedError,
        ActionDeniedError,
        AgentKilledError,
        AgentPausedError,
        ConfigurationError,
        PolicyError,
        VaultakError,
    )
    from vaultak.monitor import Monitor
    from vaultak.policy.settings import KillSwitchMode, PolicySettings
    from vaultak.wire import ActionType, ContextSource, Decision, OutcomeStatus, Verdict

_HOMES = {
    "vaultak.audit": ("AuditEntry",),
    "vaultak.client": ("Vaultak",),
    "vaultak.errors": (
        "ActionBlockedError",
        "ActionDeniedError",
        "AgentKilledError",
        "AgentPausedError",
        "ConfigurationError",
        "PolicyError",
        "VaultakError",
    ),
    "vaultak.monitor": ("Monitor",),
    "vaultak.policy.settings": ("KillSwitchMode", "PolicySettings"),
    "vaultak.wire": ("ActionType", "ContextSource", "Decision", "OutcomeStatus", "Verdict"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ActionBlockedError",
    "ActionDeniedError",
    "ActionType",
    "AgentKilledError",
    "AgentPausedError",
    "AuditEntry",
    "ConfigurationError",
    "ContextSource",
    "Decision",
    "KillSwitchMode",
    "Monitor",
    "OutcomeStatus",
    "PolicyError",
    "PolicySettings",
    "Vaultak",
    "VaultakError",
    "Verdict",
]


def __getattr__(name: str) -> object:
    if (home := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module `vaultak` has no attribute `{name}`")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
