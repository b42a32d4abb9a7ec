"""Seals of verdicts: a keyed hash beside each, so that editing one in the store shows.

No chain of an agent's holds verdicts. The key (`data_dir/keys/audit.key`, 0600, or `VAULTAK_AUDIT_KEY`; 64 hex digits)
is the sink's and the verifier's; the store never sees it. The factors are left out: a verdict given twice (by a worker
that crashed in between) may know one more of them, and the row then shows both.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from vaultak.errors import ConfigurationError
from vaultak_devstack.files import write_private
from vaultak_streams.audit.chains import LONG_AGO, AgentRange
from vaultak_streams.audit.findings import Finding, What
from vaultak_streams.sink.batches import Block
from vaultak_streams.store.client import Store

VARIABLE = "VAULTAK_AUDIT_KEY"
KEY_BYTES = 32
SEAL_BYTES = 8
PAGE_ROWS = 50_000
GRACE = dt.timedelta(hours=1)
"""After the migration that brought seals: sinks of the version before may have gone on for so long."""

SEALED = (
    "agent_id", "action_id", "scored_ts", "risk", "decision", "rules", "reasons", "explanation", "policy_version",
    "model_version", "baseline_events",
)  # fmt: skip
"""What a seal covers, in this order."""

_encode = msgspec.json.Encoder().encode
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def key_path(data_dir: Path) -> Path:
    return data_dir / "keys" / "audit.key"


def load_key(data_dir: Path) -> bytes | None:
    """The key, if there is one. Raises `ConfigurationError` for one that is none, or that others may read."""
    if given := os.environ.get(VARIABLE, "").strip():
        return _parsed(given, VARIABLE)
    path = key_path(data_dir)
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigurationError(f"`{path}` can be read by others on this machine; run `chmod 600 {path}`")
        return _parsed(path.read_text().strip(), f"`{path}`")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationError(f"cannot read the audit key `{path}`: {e}") from None


def load_or_create_key(data_dir: Path) -> bytes:
    """The key, made at first use; of several processes that make it at once, one wins and all use that one."""
    if (key := load_key(data_dir)) is not None:
        return key
    with contextlib.suppress(FileExistsError):
        write_private(key_path(data_dir), secrets.token_hex(KEY_BYTES).encode(), replace=False)
    key = load_key(data_dir)
    assert key is not None
    return key


def _parsed(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{where} is not an audit key ({2 * KEY_BYTES} hex digits)")
    return key


def seal_block(block: Block, key: bytes) -> Block:
    """The block of `action_parts`, its verdicts sealed; any other as it is."""
    if block.table != "action_parts" or "decision" not in block.names:
        return block
    seals = [_sealing(values, key) for values in block.select(*SEALED)]
    rows = [(*row, made) for row, made in zip(block.rows, seals, strict=True)]
    return Block(block.table, (*block.names, "verdict_seal"), rows)


def seal(row: Mapping[str, Any], key: bytes) -> int:
    """The seal of a verdict as it was read: BLAKE2b, keyed, 64 bits."""
    return _sealing([row[name] for name in SEALED], key)


def _sealing(values: Iterable[Any], key: bytes) -> int:
    members = [_plain(value) for value in values]
    return int.from_bytes(hashlib.blake2b(_encode(members), key=key, digest_size=SEAL_BYTES).digest(), "little")


def _plain(value: Any) -> Any:
    """As it is sealed: times in microseconds, JSON as text."""
    if isinstance(value, bytes):
        return value.decode()
    return (value - _EPOCH) // _MICROSECOND if isinstance(value, dt.datetime) else value


_PAGE = f"""
SELECT {", ".join(SEALED)}, verdict_seal, ingested_at, session_id, instance, seq
FROM action_parts FINAL
WHERE agent_id >= {{first:String}} AND agent_id <= {{last:String}}
  AND (agent_id, action_id) > ({{after_agent:String}}, {{after_action:String}})
  AND ingested_at >= {{since:DateTime64(6, 'UTC')}} AND isNotNull(decision)
ORDER BY agent_id, action_id
LIMIT {PAGE_ROWS}
"""  # noqa: S608 - put together from the names above


class Checked(msgspec.Struct):
    """Verdicts whose seals were looked at."""

    verdicts: int = 0


def changed(store: Store, agents: AgentRange, since: dt.datetime, key: bytes, checked: Checked) -> Iterator[Finding]:
    """Verdicts of these agents that are not those that were sealed."""
    sealed_from = _sealed_from(store)
    bounds = {"first": agents.first, "last": agents.last, "since": since}
    after = ("", "")
    while True:
        page = store.query(_PAGE, {**bounds, "after_agent": after[0], "after_action": after[1]})
        for row in page.records():
            checked.verdicts += 1
            if row["verdict_seal"] is None:
                if row["ingested_at"] >= sealed_from:
                    yield _finding(row, "it has no seal")
            elif row["verdict_seal"] != seal(row, key):
                yield _finding(row, "the seal does not fit")
        if len(page.rows) < PAGE_ROWS:
            return
        after = (page.rows[-1][0], page.rows[-1][1])


def _sealed_from(store: Store) -> dt.datetime:
    sql = "SELECT max(applied_at) FROM schema_migrations WHERE name = '0007_verdict_seals'"
    applied_at = store.query(sql).rows[0][0]
    return applied_at + GRACE if isinstance(applied_at, dt.datetime) else LONG_AGO


def _finding(row: Mapping[str, Any], detail: str) -> Finding:
    return Finding(
        What.VERDICT_CHANGED,
        row["agent_id"],
        row["session_id"] or "",
        row["instance"] or "",
        row["seq"],
        row["action_id"],
        detail,
    )
