"""Settings from the environment, read once, validated once, named in every complaint."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vaultak.errors import ConfigurationError
from vaultak.wire import Topics

DEFAULT_BOOTSTRAP = "127.0.0.1:9092"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where an SDK or a worker finds the rest of the system."""

    bootstrap_servers: str
    topics: Topics
    data_dir: Path
    spool_dir: Path
    api_key: str | None = None
    require_keys: bool = False
    """Whether worker and sink take events only from those who hold a key for their agent."""
    policy: Path | None = None
    clickhouse_dsn: str | None = None
    clickhouse_cluster: str | None = None
    """The replicated cluster behind that address, as its servers call it; `None` for one server."""
    kafka_security: dict[str, str] = {}
    """Keyword arguments for aiokafka: `security_protocol`, `sasl_mechanism`, `sasl_plain_username`, ...; files (`ssl_`)
    and where tokens come from (`oauth_`) are turned into what it takes by `vaultak.kafka_clients`."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the conventional variables. Raises `ConfigurationError` naming the variable and the fix."""
        env = os.environ if env is None else env
        try:
            topics = Topics(_get(env, "VAULTAK_TOPIC_PREFIX") or "vaultak")
        except ValueError as e:
            raise ConfigurationError(f"VAULTAK_TOPIC_PREFIX: {e}") from None
        servers = _get(env, "VAULTAK_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS") or DEFAULT_BOOTSTRAP
        data_dir = Path(_get(env, "VAULTAK_DATA_DIR") or _default_data_dir(env)).expanduser()
        spool = _get(env, "VAULTAK_SPOOL_DIR")
        policy = _get(env, "VAULTAK_POLICY")
        if policy and not Path(policy).expanduser().is_file():
            raise ConfigurationError(f"VAULTAK_POLICY: no file at `{policy}`; give the path of a policy file")
        return cls(
            bootstrap_servers=_servers("VAULTAK_BOOTSTRAP_SERVERS", servers),
            topics=topics,
            data_dir=data_dir,
            spool_dir=Path(spool).expanduser() if spool else data_dir / "spool",
            api_key=_get(env, "VAULTAK_API_KEY"),
            require_keys=_flag(env, "VAULTAK_REQUIRE_KEYS"),
            policy=Path(policy).expanduser() if policy else None,
            clickhouse_dsn=_get(env, "VAULTAK_CLICKHOUSE_DSN", "CLICKHOUSE_URL"),
            clickhouse_cluster=_get(env, "VAULTAK_CLICKHOUSE_CLUSTER"),
            kafka_security=_security(env),
        )


def _get(env: Mapping[str, str], *names: str) -> str | None:
    """The first of several variables that is set and not blank; `NAME_FILE` names a file holding the value."""
    for name in names:
        if value := env.get(name, "").strip():
            return value
        if path := env.get(f"{name}_FILE", "").strip():
            try:
                return Path(path).read_text().strip() or None
            except (OSError, UnicodeDecodeError) as e:
                raise ConfigurationError(f"{name}_FILE: cannot read `{path}`: {e}") from None
    return None


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = (_get(env, name) or "no").lower()
    if value not in (*_YES, *_NO):
        raise ConfigurationError(f"{name}: `{value[:20]}` is neither yes nor no")
    return value in _YES


_YES, _NO = ("1", "yes", "true", "on"), ("0", "no", "false", "off")


def _default_data_dir(env: Mapping[str, str]) -> str:
    if home := env.get("XDG_DATA_HOME", "").strip():
        return f"{home}/vaultak"
    if home := env.get("HOME", "").strip():
        return f"{home}/.local/share/vaultak"
    return f"{tempfile.gettempdir()}/vaultak-{os.getuid()}"


def _servers(name: str, value: str) -> str:
    for server in value.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigurationError(f"{name}: `{server.strip()[:80]}` is not `host:port`; separate several by commas")
    return value


_SECURITY = {
    "security_protocol": ("VAULTAK_KAFKA_SECURITY_PROTOCOL", "KAFKA_SECURITY_PROTOCOL"),
    "sasl_mechanism": ("VAULTAK_KAFKA_SASL_MECHANISM", "KAFKA_SASL_MECHANISM"),
    "sasl_plain_username": ("VAULTAK_KAFKA_SASL_USERNAME", "KAFKA_SASL_USERNAME"),
    "sasl_plain_password": ("VAULTAK_KAFKA_SASL_PASSWORD", "KAFKA_SASL_PASSWORD"),
    "ssl_cafile": ("VAULTAK_KAFKA_SSL_CAFILE", "KAFKA_SSL_CAFILE"),
    "ssl_certfile": ("VAULTAK_KAFKA_SSL_CERTFILE", "KAFKA_SSL_CERTFILE"),
    "ssl_keyfile": ("VAULTAK_KAFKA_SSL_KEYFILE", "KAFKA_SSL_KEYFILE"),
    "oauth_url": ("VAULTAK_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"),
    "oauth_client_id": ("VAULTAK_KAFKA_SASL_OAUTHBEARER_CLIENT_ID", "KAFKA_SASL_OAUTHBEARER_CLIENT_ID"),
    "oauth_client_secret": ("VAULTAK_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET"),
    "oauth_scope": ("VAULTAK_KAFKA_SASL_OAUTHBEARER_SCOPE", "KAFKA_SASL_OAUTHBEARER_SCOPE"),
}
_TOKEN_FILE = ("VAULTAK_KAFKA_SASL_OAUTHBEARER_TOKEN_FILE", "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE")
"""A name, not a value: what is in the file changes."""
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


def _security(env: Mapping[str, str]) -> dict[str, str]:
    found = {key: value for key, names in _SECURITY.items() if (value := _get(env, *names))}
    protocol = found.get("security_protocol")
    if protocol and protocol not in _PROTOCOLS:
        raise ConfigurationError(
            f"KAFKA_SECURITY_PROTOCOL: `{protocol[:40]}` is unknown; use one of {', '.join(_PROTOCOLS)}"
        )
    if token_file := next((value for name in _TOKEN_FILE if (value := env.get(name, "").strip())), ""):
        found["oauth_token_file"] = token_file
    if found.get("sasl_mechanism") == "OAUTHBEARER":
        _check_oauth(found)
    return found


def _check_oauth(found: Mapping[str, str]) -> None:
    if "oauth_token_file" in found:
        return
    if missing := [name for name in ("oauth_url", "oauth_client_id", "oauth_client_secret") if name not in found]:
        names = ", ".join(_SECURITY[name][1] for name in missing)
        raise ConfigurationError(f"{names}: not set; OAUTHBEARER needs them, or {_TOKEN_FILE[1]}")
    url = found["oauth_url"]
    if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:")):
        raise ConfigurationError(
            f"{_SECURITY['oauth_url'][1]}: `{url[:80]}` is not https: the secret would be readable"
        )
