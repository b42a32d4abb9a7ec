"""A connection to ClickHouse from a DSN."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from vaultak.errors import ConfigurationError
from vaultak_streams.store.errors import StoreRejectedError, StoreUnavailableError

CONNECT_TIMEOUT_S = 5
QUERY_TIMEOUT_S = 60

_SCHEMES = {"clickhouse": False, "http": False, "clickhouses": True, "https": True}
_DEFAULT_PORTS = {False: 8123, True: 8443}


class Result(msgspec.Struct, frozen=True):
    """Columns and rows of an answer."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def records(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Store:
    """One connection. Not thread-safe. Raises `StoreUnavailableError` or `StoreRejectedError`."""

    def __init__(self, dsn: str) -> None:
        options = parse_dsn(dsn)
        self.address = f"{options['host']}:{options['port']}"
        self.database = str(options["database"])
        with self._explained():
            self._client = clickhouse_connect.get_client(
                **options,
                connect_timeout=CONNECT_TIMEOUT_S,
                send_receive_timeout=QUERY_TIMEOUT_S,
                tz_mode="aware",
                autogenerate_session_id=False,
            )

    def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> Result:
        """Run a SELECT; `{name:Type}` in it stands for a parameter, bound by the server."""
        with self._explained():
            answer = self._client.query(sql, parameters=dict(parameters or {}), settings=dict(settings or {}))
        return Result(tuple(answer.column_names), [tuple(row) for row in answer.result_rows])

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        with self._explained():
            return self._client.command(sql, parameters=dict(parameters or {}))

    def insert(self, table: str, columns: Sequence[str], data: Sequence[Sequence[Any]], *, token: str = "") -> None:
        """Insert columnar `data` (one sequence per column), atomically per partition of the table."""
        settings = {"async_insert": 0, **({"insert_deduplication_token": token} if token else {})}
        with self._explained():
            self._client.insert(table, data, column_names=list(columns), column_oriented=True, settings=settings)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as e:
            raise StoreUnavailableError(f"ClickHouse at {self.address} does not answer: {_first_line(e)}") from None
        except ClickHouseError as e:
            raise StoreRejectedError(f"ClickHouse at {self.address}: {_first_line(e)}") from None
        except OSError as e:
            raise StoreUnavailableError(f"ClickHouse at {self.address} does not answer: {_first_line(e)}") from None


def connect(dsn: str) -> Store:
    """Connect. Raises `ConfigurationError` for a DSN that is none, else as `Store`."""
    return Store(dsn)


def parse_dsn(dsn: str) -> dict[str, Any]:
    """`clickhouse://user:password@host:port/database` (`clickhouses`, `https`: over TLS) as keyword arguments.

    Query parameters `verify=0` and `ca_cert=PATH` are passed on. Raises `ConfigurationError`, without the password.
    """
    try:
        parts = urlsplit(dsn)
        port = parts.port
    except ValueError as e:
        raise ConfigurationError(f"VAULTAK_CLICKHOUSE_DSN: {e}") from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        shown = f"{parts.scheme}://{parts.hostname or ''}" if parts.scheme else "it"
        raise ConfigurationError(
            f"VAULTAK_CLICKHOUSE_DSN: `{shown[:60]}` is not `clickhouse://user:password@host:port/database`"
        )
    secure = _SCHEMES[parts.scheme]
    options: dict[str, Any] = {
        "host": parts.hostname,
        "port": port or _DEFAULT_PORTS[secure],
        "username": unquote(parts.username or "default"),
        "password": unquote(parts.password or ""),
        "database": parts.path.strip("/") or "vaultak",
        "secure": secure,
    }
    given = dict(parse_qsl(parts.query))
    if "verify" in given:
        options["verify"] = given["verify"] not in ("0", "false", "no")
    if "ca_cert" in given:
        options["ca_cert"] = given["ca_cert"]
    return options


def _first_line(error: Exception) -> str:
    """What the server or the network said, in one line, without stack traces and addresses of it all."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text.split("(for url")[0].strip()[:500]
