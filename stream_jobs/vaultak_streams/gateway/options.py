"""How the gateway is served and what it takes, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vaultak.errors import ConfigurationError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8701

_ENV = "VAULTAK_GATEWAY_"


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Validated once. Beyond loopback put a proxy that speaks TLS before it: keys travel with each request."""

    host: str = DEFAULT_HOST
    port: int | None = None
    """0: any free one; None: 8701 where that is free, else any."""
    keys: Path | None = None
    """The file with the API keys; `None`: `gateway/keys.json` of the data directory."""
    max_body_bytes: int = 1024 * 1024
    body_s: float = 10.0
    """What a client has to send a body."""
    max_events: int = 500
    """In one request."""
    max_wait_s: float = 30.0
    """A request waits no longer for a verdict or a command."""
    max_waiting: int = 1_000
    """Requests that wait at the same time; more are refused with 503."""
    max_agents: int = 500
    """Agents that this process governs at the same time; the one that was silent longest makes room."""
    per_second: float = 500.0
    """Events that one key may send in the long run."""
    burst: int = 2_000
    max_pending_bytes: int = 64 * 1024 * 1024
    """What waits for the broker; beyond it requests are refused with 503."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **given: object) -> GatewayOptions:
        """Read `VAULTAK_GATEWAY_*`; `given` wins. Raises `ConfigurationError` naming the variable and the fix."""
        env = os.environ if env is None else env
        found: dict[str, object] = {}
        if host := env.get(_ENV + "HOST", "").strip():
            found["host"] = host
        if keys := env.get(_ENV + "KEYS", "").strip():
            found["keys"] = Path(keys).expanduser()
        for name, (low, high) in _NUMBERS.items():
            if text := env.get(_ENV + name.upper(), "").strip():
                found[name] = _number(name.upper(), text, low, high, whole=name not in _FRACTIONS)
        return cls(**{**found, **{name: value for name, value in given.items() if value is not None}})  # type: ignore[arg-type]


_NUMBERS = {
    "port": (0, 65535),
    "max_body_bytes": (1024, 64 * 1024 * 1024),
    "body_s": (0.1, 300),
    "max_events": (1, 10_000),
    "max_wait_s": (0, 300),
    "max_waiting": (1, 100_000),
    "max_agents": (1, 100_000),
    "per_second": (0.1, 1e6),
    "burst": (1, 10_000_000),
    "max_pending_bytes": (1024, 1 << 40),
}
_FRACTIONS = ("body_s", "max_wait_s", "per_second")


def _number(name: str, text: str, low: float, high: float, *, whole: bool) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ConfigurationError(f"{_ENV}{name}: `{text[:40]}` is not a number from {low:g} to {high:g}")
    return value


def address_path(data_dir: Path) -> Path:
    """Where a gateway that the local stack runs says at which address it is."""
    return data_dir / "gateway" / "address"
