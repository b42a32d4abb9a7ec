"""How the console is served and who gets in, from the environment."""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vaultak.errors import ConfigurationError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8700
SESSION_LIFETIME_S = 12 * 3600

_ENV = "VAULTAK_CONSOLE_"


class ConsoleOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Validated once.

    Exactly one way in: a proxy's identity header where `identity_header` is set; else passwords where `users_file` is
    set; else the token.
    """

    host: str = DEFAULT_HOST
    port: int | None = None
    """0: any free one; None: 8700 where that is free, else any."""
    token: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(24))
    users_file: Path | None = None
    identity_header: str = ""
    """Name of the header with the user's name, as a proxy that did OIDC sets it."""
    groups_header: str = ""
    """Name of the header with the user's groups, separated by commas: `vaultak-admin`, `vaultak-operator`."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose headers count, as CIDR."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names under which it may be reached, beside loopback's: keeps other sites from rebinding a name to it."""
    secure_cookies: bool = False

    @property
    def way_in(self) -> str:
        """`header`, `password` or `token`."""
        return "header" if self.identity_header else "password" if self.users_file else "token"

    @property
    def loopback(self) -> bool:
        return self.host == "localhost" or _is_loopback(self.host)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **given: object) -> ConsoleOptions:
        """Read `VAULTAK_CONSOLE_*`; `given` wins. Raises `ConfigurationError` naming the variable and the fix."""
        env = os.environ if env is None else env
        found: dict[str, object] = {}
        for name in ("host", "identity_header", "groups_header", "token"):
            if value := env.get(_ENV + name.upper(), "").strip():
                found[name] = value
        if port := env.get(_ENV + "PORT", "").strip():
            found["port"] = _port(port)
        if users := env.get(_ENV + "USERS", "").strip():
            found["users_file"] = Path(users).expanduser()
        for name in ("trusted_proxies", "allowed_hosts"):
            found[name] = tuple(part.strip() for part in env.get(_ENV + name.upper(), "").split(",") if part.strip())
        found["secure_cookies"] = env.get(_ENV + "SECURE_COOKIES", "").strip() in ("1", "true", "yes")
        found |= {name: value for name, value in given.items() if value is not None}
        return msgspec.convert(found, cls, strict=False)._checked()

    def _checked(self) -> ConsoleOptions:
        for network in self.trusted_proxies:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ConfigurationError(
                    f"{_ENV}TRUSTED_PROXIES: `{network[:60]}` is not an address or network; give e.g. `10.0.0.0/8`"
                ) from None
        if self.identity_header and not self.trusted_proxies:
            raise ConfigurationError(
                f"{_ENV}IDENTITY_HEADER: anybody could send it; name the proxies in {_ENV}TRUSTED_PROXIES"
            )
        if self.users_file and not self.users_file.is_file():
            raise ConfigurationError(
                f"{_ENV}USERS: no file at `{self.users_file}`; make one with `vaultak console --add-user NAME`"
            )
        if not self.loopback and not self.allowed_hosts:
            raise ConfigurationError(
                f"{_ENV}ALLOWED_HOSTS: not set; beyond loopback, name the hosts under which the console is reached"
            )
        if len(self.token) < 16:
            raise ConfigurationError(f"{_ENV}TOKEN: shorter than 16 characters; unset it for a generated one")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise ConfigurationError(f"{_ENV}PORT: `{text[:40]}` is not a port; give 1 to 65535, or 0 for any free one")
    return int(text)
