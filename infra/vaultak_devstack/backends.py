"""Which broker and which ClickHouse a stack uses: those that the environment names, else its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from vaultak.config import Settings
from vaultak.errors import ConfigurationError
from vaultak_devstack import broker_embedded, broker_kafka
from vaultak_devstack.broker import Broker
from vaultak_devstack.broker_embedded import EmbeddedBroker
from vaultak_devstack.broker_kafka import KafkaBroker
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_devstack.errors import PortInUseError, UnavailableError
from vaultak_devstack.external import ExternalBroker
from vaultak_devstack.ports import require_free

BrokerChoice = Literal["auto", "embedded", "kafka", "external"]
ClickHouseChoice = Literal["auto", "embedded", "external"]

_BROKER_VARIABLES = ("VAULTAK_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS")
DEFAULT_BROKER = 9092
_DEFAULT_HTTP, _DEFAULT_TCP = 8123, 9000


class Restartable(Protocol):
    def start(self) -> None: ...

    def kill(self) -> None: ...


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where the stack's own parts listen. 0: any free port; None: the usual one where it is free, else any."""

    broker: int = DEFAULT_BROKER
    """Agents look for their broker here when nothing tells them otherwise, so this one is not chosen silently."""
    clickhouse_http: int | None = None
    clickhouse_tcp: int | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Ports:
        """VAULTAK_BROKER_PORT and VAULTAK_CLICKHOUSE_PORT (HTTP). Raises `ConfigurationError`."""
        env = os.environ if env is None else env
        broker = _port(env, "VAULTAK_BROKER_PORT")
        http = _port(env, "VAULTAK_CLICKHOUSE_PORT")
        return cls(broker=DEFAULT_BROKER if broker is None else broker, clickhouse_http=http)


def make_broker(
    settings: Settings, choice: BrokerChoice, ports: Ports, log_dir: Path, env: Mapping[str, str] | None = None
) -> Broker:
    """The broker of a stack, not yet started. Raises `ConfigurationError`, `UnavailableError`."""
    env = os.environ if env is None else env
    named = next((name for name in _BROKER_VARIABLES if env.get(name, "").strip() or env.get(f"{name}_FILE")), None)
    if choice == "external" or (choice == "auto" and named):
        secured = "SSL" in settings.kafka_security.get("security_protocol", "")
        return ExternalBroker(settings.bootstrap_servers, secured=secured)
    if named:
        raise ConfigurationError(f"{named}: set, so no {choice} broker is started; unset it, or leave the choice to it")
    if choice == "auto":
        choice = _best_here()
    if choice == "kafka":
        if reason := broker_kafka.available():
            raise UnavailableError(f"Apache Kafka cannot run here: {reason}")
        return KafkaBroker(settings.data_dir / "kafka", port=ports.broker, log_dir=log_dir)
    return EmbeddedBroker(port=ports.broker, log_dir=log_dir)


def make_clickhouse(
    settings: Settings, choice: ClickHouseChoice, ports: Ports, log_dir: Path
) -> ClickHouseServer | str:
    """The server of a stack, not yet started; or the DSN of an external one. Raises `ConfigurationError`."""
    if choice == "external" and not settings.clickhouse_dsn:
        raise ConfigurationError(
            "VAULTAK_CLICKHOUSE_DSN: not set; give the DSN of the server, or leave the choice to us"
        )
    if settings.clickhouse_dsn:
        if choice == "embedded":
            raise ConfigurationError("VAULTAK_CLICKHOUSE_DSN: set, so no embedded ClickHouse is started; unset it")
        return settings.clickhouse_dsn
    return ClickHouseServer(
        settings.data_dir / "clickhouse",
        _usual_or_free(ports.clickhouse_http, _DEFAULT_HTTP),
        _usual_or_free(ports.clickhouse_tcp, _DEFAULT_TCP),
        log_dir=log_dir,
    )


def _best_here() -> BrokerChoice:
    if (no_embedded := broker_embedded.unavailable()) is None:
        return "embedded"
    if broker_kafka.available() is None:
        return "kafka"
    raise UnavailableError(no_embedded)


def _usual_or_free(port: int | None, usual: int) -> int:
    if port is not None:
        return port
    try:
        require_free(usual, "ClickHouse", "")
    except PortInUseError:
        return 0
    return usual


def _port(env: Mapping[str, str], name: str) -> int | None:
    if not (text := env.get(name, "").strip()):
        return None
    if not text.isdigit() or int(text) > 65535:
        raise ConfigurationError(f"{name}: `{text[:40]}` is not a port; give 1 to 65535, or 0 for any free one")
    return int(text)
