"""Every error a user of the SDK can meet.

    VaultakError (Exception)
    ├── ConfigurationError          a keyword or variable that cannot be used; names it and the fix
    ├── PolicyError                 a policy that cannot be loaded
    └── ActionDeniedError           an action did not run
        ├── ActionBlockedError      denied by policy, by risk or by an operator
        └── AgentPausedError        waited while the agent was paused, until `pause_timeout_s` ran out
    AgentKilledError (BaseException)    the agent was killed: its own `except Exception` cannot swallow this

None of them is an `OSError`: libraries wrap those away, and a denial has to reach the agent.
"""

from __future__ import annotations


class VaultakError(Exception):
    """Root of the SDK's errors."""


class ConfigurationError(VaultakError):
    """A setting that cannot be used. The message is one line: which setting, what is wrong, what to do."""


class PolicyError(VaultakError):
    """A policy that cannot be loaded."""


class ActionDeniedError(VaultakError):
    """An action did not run. Carries what was denied and why."""

    def __init__(self, message: str, *, action_id: str = "", reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.action_id = action_id
        self.reasons = reasons


class ActionBlockedError(ActionDeniedError):
    """Denied by policy, by risk or by an operator."""


class AgentPausedError(ActionDeniedError):
    """The agent was paused and nobody resumed it within `pause_timeout_s`."""


class AgentKilledError(BaseException):
    """The agent was killed; every further action raises this."""

    def __init__(self, message: str, *, action_id: str = "", reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.action_id = action_id
        self.reasons = reasons
