"""What an action can do at worst, whoever does it: destructiveness of its kind, sensitivity of its target.

The tables are defaults for any deployment, in general English and general file-system and network terms; both can be
replaced. A risk model adds what is unusual about the action; without one, `risk` is the product of the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from vaultak.policy.resources import ResourceMatcher
from vaultak.wire import ActionType

DESTRUCTIVENESS: Mapping[ActionType, float] = MappingProxyType(
    {
        ActionType.FILE_READ: 0.1,
        ActionType.FILE_WRITE: 0.4,
        ActionType.FILE_DELETE: 0.8,
        ActionType.API_CALL: 0.3,
        ActionType.NETWORK_REQUEST: 0.35,
        ActionType.DATABASE_QUERY: 0.15,
        ActionType.DATABASE_WRITE: 0.6,
        ActionType.CODE_EXECUTION: 0.5,
        ActionType.PROCESS_SPAWN: 0.6,
        ActionType.PERMISSION_CHANGE: 0.7,
        ActionType.TOOL_CALL: 0.3,
        ActionType.MESSAGE_SEND: 0.45,
        ActionType.CUSTOM: 0.3,
    }
)
"""0: leaves nothing changed; 1: cannot be undone and may reach anything."""

VERBS: Mapping[str, float] = MappingProxyType({
    **dict.fromkeys(("get", "read", "list", "search", "find", "fetch", "view", "show", "lookup", "query", "check",
                     "count", "describe", "calculate", "think", "summarize", "summarise", "translate"), 0.1),
    **dict.fromkeys(("download", "open", "browse", "visit"), 0.2),
    **dict.fromkeys(("create", "add", "write", "save", "append", "insert", "upload", "book", "schedule", "reserve",
                     "register", "set", "update", "edit", "modify", "change", "rename", "move", "put", "patch"), 0.45),
    **dict.fromkeys(("send", "post", "share", "publish", "invite", "reply", "forward", "submit", "notify", "email",
                     "message"), 0.5),
    **dict.fromkeys(("execute", "exec", "run", "eval", "deploy", "install", "restart", "stop", "cancel", "disable",
                     "revoke", "grant", "remove", "unsubscribe", "kick", "ban"), 0.65),
    **dict.fromkeys(("pay", "transfer", "withdraw", "refund", "purchase", "buy", "order", "charge", "sell"), 0.75),
    **dict.fromkeys(("delete", "drop", "truncate", "destroy", "purge", "wipe", "erase", "format", "kill", "shutdown",
                     "terminate"), 0.85),
})  # fmt: skip
"""The first of these words in a tool's name says what the tool does."""

SENSITIVITY: Sequence[tuple[float, tuple[str, ...]]] = (
    (1.0, ("*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "id_rsa*", "id_ed25519*", "*/.ssh/*", "*/.gnupg/*",
           "/etc/shadow", "*/.aws/credentials", "*/.kube/config", "*/.netrc", "*/.pgpass", "*/.docker/config.json")),
    (0.9, ("*.env", "*.env.*", "*secret*", "*credential*", "*password*", "*passwd*", "*token*", "*.tfstate",
           "env:*KEY*", "env:*TOKEN*", "env:*SECRET*", "env:*PASSWORD*")),
    (0.8, ("*prod.*", "*production*", "/etc/*", "/boot/*", "/usr/*", "/bin/*", "/sbin/*", "/lib/*", "/root/*",
           "*169.254.169.254*", "*metadata.google.internal*")),
    (0.7, ("*payment*", "*billing*", "*invoice*", "*payroll*", "*bank*", "*account*", "*customer*", "*patient*",
           "*medical*", "*salar*", "*.bak", "*backup*", "*.sql", "process:pid:*", "native:*")),
    (0.6, ("*user*", "*contact*", "*mail*", "*calendar*", "*.db", "*.sqlite*", "db://*")),
)  # fmt: skip
"""Classes from most to least sensitive; the first whose pattern matches counts."""

DEFAULT_SENSITIVITY = 0.4

_WORD = re.compile(r"[a-z]+")


class StaticRisk(msgspec.Struct, frozen=True, gc=False):
    """Each in 0..1; `risk` is what they come to without knowing the agent."""

    destructiveness: float
    sensitivity: float
    risk: float


class RiskTables(msgspec.Struct, frozen=True, kw_only=True):
    """The tables in use. Replace one to suit a deployment; values are in 0..1."""

    destructiveness: Mapping[ActionType, float] = DESTRUCTIVENESS
    verbs: Mapping[str, float] = VERBS
    sensitivity: Sequence[tuple[float, tuple[str, ...]]] = SENSITIVITY
    default_sensitivity: float = DEFAULT_SENSITIVITY


class StaticRiskModel:
    """Looks actions up in the tables; bounded caches make a repeated one a dictionary lookup."""

    def __init__(self, tables: RiskTables | None = None) -> None:
        self._tables = tables or RiskTables()
        classes = [(value, pattern) for value, patterns in self._tables.sensitivity for pattern in patterns]
        self._values = dict(reversed([(pattern, value) for value, pattern in classes]))
        self._patterns = ResourceMatcher(pattern for _, pattern in classes)
        self._assessed: dict[str, dict[str, StaticRisk]] = {}
        self._sensitivities: dict[str, float] = {}
        self._destructiveness: dict[str, float | None] = {}

    @property
    def verbs(self) -> Mapping[str, float]:
        """Destructiveness by verb."""
        return self._tables.verbs

    def assess(self, action_type: ActionType, resource: str) -> StaticRisk:
        # By the text of the type: hashing an enum's member costs more than all else here.
        known = self._assessed.get(resource)
        if known is not None and (static := known.get(action_type._value_)) is not None:
            return static
        static = self._assess(action_type, resource)
        if known is None:
            _bound(self._assessed)
            known = self._assessed[resource] = {}
        known[action_type._value_] = static
        return static

    def _assess(self, action_type: ActionType, resource: str) -> StaticRisk:
        destructiveness = self.destructiveness(action_type, resource)
        sensitivity = self.sensitivity(resource)
        return StaticRisk(destructiveness, sensitivity, round(destructiveness * (0.4 + 0.6 * sensitivity), 4))

    def destructiveness(self, action_type: ActionType, resource: str) -> float:
        if action_type in (ActionType.TOOL_CALL, ActionType.API_CALL, ActionType.CUSTOM):
            verb = self._verb(resource)
            if verb is not None:
                return verb
        return self._tables.destructiveness[action_type]

    def _verb(self, resource: str) -> float | None:
        if resource not in self._destructiveness:
            name = resource.rpartition(":")[2] if resource.startswith("tool:") else ""
            words = _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
            known = [self._tables.verbs[word] for word in words if word in self._tables.verbs]
            _bound(self._destructiveness)
            self._destructiveness[resource] = known[0] if known else None
        return self._destructiveness[resource]

    def sensitivity(self, resource: str) -> float:
        if resource not in self._sensitivities:
            _bound(self._sensitivities)
            pattern = self._patterns.match(resource)
            value = self._tables.default_sensitivity if pattern is None else self._values[pattern]
            self._sensitivities[resource] = value
        return self._sensitivities[resource]


def _bound(cache: dict[str, Any]) -> None:
    if len(cache) >= 4096:
        cache.clear()


DEFAULT_MODEL = StaticRiskModel()


def static_risk(action_type: ActionType, resource: str) -> StaticRisk:
    """Destructiveness, sensitivity and their product by the default tables."""
    return DEFAULT_MODEL.assess(action_type, resource)
