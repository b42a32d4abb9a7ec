"""Where a process shows its metrics, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from vaultak.errors import ConfigurationError

VARIABLE = "VAULTAK_METRICS"
ANYWHERE = "127.0.0.1:0"
"""Any free port of the loopback: what `vaultak up` gives the processes that it starts."""


class MetricsAddress(msgspec.Struct, frozen=True):
    """`port` 0: any free one; else this one or, where several processes share a host, the next free one."""

    host: str
    port: int

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> MetricsAddress | None:
        """`None`: not wanted. Raises `ConfigurationError`."""
        text = (os.environ if env is None else env).get(VARIABLE, "").strip()
        if text in ("", "off"):
            return None
        host, _, port = text.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ConfigurationError(
                f"{VARIABLE}: `{text[:80]}` is not `host:port`; give e.g. `127.0.0.1:9464`, or `off`"
            )
        return cls(host.strip("[]"), int(port))
