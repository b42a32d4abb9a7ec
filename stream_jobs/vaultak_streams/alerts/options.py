"""Where alerts go and how many, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vaultak.errors import ConfigurationError
from vaultak.wire import SEVERITY, Decision
from vaultak_streams.pipeline.incidents import STOPPING

_ENV = "VAULTAK_ALERT_"

LEAST = tuple(decision.value for decision in Decision if SEVERITY[decision] >= STOPPING)


class AlertOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Validated once. `urls` and the file in `config` are Apprise's; both may be given."""

    urls: tuple[str, ...] = ()
    config: Path | None = None
    least: str = Decision.PAUSE.value
    """The severity from which an incident is told of."""
    per_minute: float = 10.0
    """Messages to one destination in the long run; what comes faster is put together into one."""
    burst: int = 5
    """Messages to one destination at once."""
    give_up_s: float = 900.0
    """How long one message is tried."""
    max_age_s: float = 3600.0
    """What is older when it is read (after an outage, or at the first start) is not told any more."""
    console: str = ""
    """The console's address, for links."""

    @property
    def wanted(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self.urls or self.config)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> AlertOptions:
        """Read `VAULTAK_ALERT_*`. Raises `ConfigurationError` naming the variable and the fix."""
        env = os.environ if env is None else env
        found: dict[str, object] = {}
        if urls := _value(env, "URLS"):
            found["urls"] = tuple(urls.split())
        if config := _value(env, "CONFIG"):
            found["config"] = _file(config)
        if least := _value(env, "LEAST"):
            if least not in LEAST:
                raise ConfigurationError(f"{_ENV}LEAST: `{least[:40]}` is none of {', '.join(LEAST)}")
            found["least"] = least
        for name, least_value in (("per_minute", 0.1), ("burst", 1), ("give_up_s", 1), ("max_age_s", 1)):
            if (text := _value(env, name.upper())) is not None:
                found[name] = _number(name.upper(), text, least_value)
        if console := _value(env, "CONSOLE"):
            if not console.startswith(("http://", "https://")):
                raise ConfigurationError(f"{_ENV}CONSOLE: `{console[:60]}` is not an http address")
            found["console"] = console.rstrip("/")
        return msgspec.convert(found, cls, strict=False)


def _value(env: Mapping[str, str], name: str) -> str | None:
    """The variable; `<name>_FILE` names a file that holds the value, as URLs carry passwords."""
    if value := env.get(_ENV + name, "").strip():
        return value
    if path := env.get(f"{_ENV}{name}_FILE", "").strip():
        try:
            return Path(path).expanduser().read_text().strip() or None
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigurationError(f"{_ENV}{name}_FILE: cannot read `{path}`: {e}") from None
    return None


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"{_ENV}CONFIG: no file at `{path}`; give an Apprise configuration (YAML or text)")
    return path


def _number(name: str, text: str, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value < 1e9:
        raise ConfigurationError(f"{_ENV}{name}: `{text[:40]}` is not a number of at least {least:g}")
    return int(value) if name == "BURST" else value
