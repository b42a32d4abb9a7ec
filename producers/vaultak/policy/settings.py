"""The policy of one agent or one worker: limits, as the SDK's keyword arguments say them, and rules beside them.

`VAULTAK_POLICY` and `--policy` name a file with the same keys (TOML or JSON in the SDK; YAML too in the pipeline).
"""

from __future__ import annotations

import enum
import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

from vaultak.policy.risk_overrides import RiskOverrides
from vaultak.policy.rules.tree import Bundle
from vaultak.wire import ActionType, Decision, canonical_json


class KillSwitchMode(enum.StrEnum):
    """What happens when an action crosses `max_risk_score` or `max_actions_per_minute`."""

    ALERT = "alert"
    PAUSE = "pause"
    BLOCK = "block"
    ROLLBACK = "rollback"
    KILL = "kill"

    @property
    def decision(self) -> Decision:
        return Decision(self.value)


class MissingVerdict(enum.StrEnum):
    """What happens to an action whose verdict of the stream does not come in time."""

    ALLOW = "allow"
    """The local verdict counts (fail open)."""
    BLOCK = "block"
    """It is blocked (fail closed)."""


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits on an agent. `None` means no limit of that kind.

    Patterns are globs over the normalised resource (`*` spans separators, matching is case-sensitive); a pattern
    without a scheme or leading slash also matches the last segments of a path (`*.env` matches `/srv/app/.env`).
    """

    allowed_resources: tuple[str, ...] | None = None
    blocked_resources: tuple[str, ...] = ()
    allowed_action_types: tuple[ActionType, ...] | None = None
    max_actions_per_minute: Annotated[int, Meta(ge=1)] | None = None
    max_risk_score: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.7
    alert_risk_score: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    mode: KillSwitchMode = KillSwitchMode.PAUSE
    verdict_from_risk: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    """The grey zone: an action that would pass with a local risk from here on waits for the stream's verdict, and the
    more severe of both counts. `None`: no action waits."""
    verdict_timeout_ms: Annotated[int, Meta(ge=1, le=600_000)] = 2_000
    missing_verdict: MissingVerdict = MissingVerdict.ALLOW
    risk: RiskOverrides | None = None
    """Figures of one's own for what actions can do at worst."""
    rules: Bundle | None = None
    """Rules beside the limits, see `docs/policy.md`."""

    @property
    def version(self) -> str:
        """A short digest of the content: the same limits and rules have the same version everywhere."""
        limits = msgspec.structs.replace(self, rules=None)
        members = {name: value for name, value in msgspec.to_builtins(limits).items() if name != "rules"}
        for name in _GREY_ZONE:  # a policy without one has the version that it had before there was such a thing
            if self.verdict_from_risk is None:
                members.pop(name)
        if self.risk is None:
            members.pop("risk")
        else:  # in the order of trying, which a sorted object would not tell
            members["risk"]["sensitivity"] = list(self.risk.sensitivity.items())
        if self.rules is not None:
            members["rules"] = self.rules.version
        return "p-" + hashlib.sha256(canonical_json(members)).hexdigest()[:12]


_GREY_ZONE = ("verdict_from_risk", "verdict_timeout_ms", "missing_verdict")
