"""The actions handed to other systems: JSON lines, Parquet, OCSF. Streamed, whatever their number."""

from __future__ import annotations

import contextlib
import enum
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from urllib3.exceptions import HTTPError

from vaultak_streams.audit.ocsf import ocsf_event
from vaultak_streams.audit.query import CONDITION, Wanted
from vaultak_streams.store.client import parse_dsn
from vaultak_streams.store.errors import StoreRejectedError, StoreUnavailableError

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 3600


class Format(enum.StrEnum):
    """`jsonl`: an action a line, times in RFC 3339; `parquet`: the same, typed; `ocsf`: an OCSF event a line."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    OCSF = "ocsf"


_COLUMNS = (
    "ts, agent_id, instance, session_id, action_id, seq, action_type, resource, payload, payload_bytes,"
    " payload_truncated, parent_action_id, trace_id, labels, assurance, local_decision, local_risk, local_reasons,"
    " outcome_status, outcome_ts, duration_ms, content, error, risk, decision, reasons, rules, factors, explanation,"
    " scored_ts, policy_version, model_version, baseline_events"
)

_AS_NUMBERS = "toUnixTimestamp64Micro(actions.ts) / 1e6 AS ts"


def _statement(columns: str) -> str:
    return f"SELECT {columns} FROM actions WHERE {CONDITION} ORDER BY actions.ts, action_id"  # noqa: S608 - all ours


_PLAIN = _statement(_COLUMNS)
_TIMED = (
    _statement(_COLUMNS.replace("ts,", f"{_AS_NUMBERS},", 1))
    .replace(" ts >=", " actions.ts >=")
    .replace(" ts <=", " actions.ts <=")
)

_SETTINGS = {
    "output_format_json_quote_64bit_integers": 0,
    "date_time_output_format": "iso",
    "output_format_parquet_string_as_string": 1,
    "max_execution_time": 300,
    "max_bytes_before_external_sort": 400 << 20,
}


def export(dsn: str, wanted: Wanted, form: Format, output: Path | None, standard_output: IO[bytes]) -> int:
    """Write the actions, oldest first; returns how many bytes. A file is there whole or not at all.

    Raises `StoreError`, `OSError`, and `ConfigurationError` for a time that is none.
    """
    if output is None:
        return _write(dsn, wanted, form, standard_output)
    with _whole(output) as file:
        return _write(dsn, wanted, form, file)


def _write(dsn: str, wanted: Wanted, form: Format, file: IO[bytes]) -> int:
    written = 0
    for block in _FORMS[form](dsn, wanted):
        file.write(block)
        written += len(block)
    return written


def _jsonl(dsn: str, wanted: Wanted) -> Iterator[bytes]:
    return _blocks(dsn, _PLAIN, wanted, "JSONEachRow")


def _parquet(dsn: str, wanted: Wanted) -> Iterator[bytes]:
    return _blocks(dsn, _PLAIN, wanted, "Parquet")


def _ocsf(dsn: str, wanted: Wanted) -> Iterator[bytes]:
    decode, encode = msgspec.json.Decoder(dict[str, Any]).decode, msgspec.json.Encoder().encode
    for line in _lines(_blocks(dsn, _TIMED, wanted, "JSONEachRow")):
        yield encode(ocsf_event(decode(line))) + b"\n"


_FORMS: dict[Format, Callable[[str, Wanted], Iterator[bytes]]] = {
    Format.JSONL: _jsonl,
    Format.PARQUET: _parquet,
    Format.OCSF: _ocsf,
}


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _blocks(dsn: str, sql: str, wanted: Wanted, form: str) -> Iterator[bytes]:
    options = parse_dsn(dsn)
    parameters = wanted.parameters()
    with _explained(f"ClickHouse at {options['host']}:{options['port']}"):
        client = clickhouse_connect.get_client(
            **options, send_receive_timeout=_TIMEOUT_S, autogenerate_session_id=False, form_encode_query_params=True
        )
        with contextlib.closing(client):
            stream = client.raw_stream(sql, parameters=parameters, settings=_SETTINGS, fmt=form)
            with contextlib.closing(stream):
                while block := stream.read(_BLOCK_BYTES):
                    yield block


@contextlib.contextmanager
def _explained(store: str) -> Iterator[None]:
    try:
        yield
    except (OperationalError, HTTPError, OSError) as e:  # a query that fails half-way breaks the connection
        raise StoreUnavailableError(f"{store} does not answer, or gave up half-way: {_first_line(e)}") from None
    except ClickHouseError as e:
        raise StoreRejectedError(f"{store}: {_first_line(e)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:500]


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path`, private, that takes its name when all went well."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
