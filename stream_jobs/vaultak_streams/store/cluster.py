"""The schema of one server as that of a replicated cluster: the same statements, said `ON CLUSTER`.

Pure text: nothing here asks a server. Tables keep their names, orders and TTLs; their engines become the Replicated
ones of the same family, with a path a table a shard, so that a replica that joins later finds the others there.
"""

from __future__ import annotations

import re

from vaultak.errors import ConfigurationError

PATH = "/clickhouse/tables/{shard}/{database}/{table}"
"""Where replicas of a table meet. The server fills the braces in: `shard` and `replica` are macros of its own."""

REPLICA = "{replica}"

_CLUSTER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}|\{[A-Za-z_][A-Za-z0-9_]{0,63}\}")
_NAME = r"(?:\w+\.)?\w+"
_HEADS = tuple(
    re.compile(head)
    for head in (
        rf"CREATE (?:OR REPLACE )?(?:TABLE|VIEW|MATERIALIZED VIEW) (?:IF NOT EXISTS )?{_NAME}",
        rf"ALTER TABLE {_NAME}",
        rf"DROP (?:TABLE|VIEW) (?:IF EXISTS )?{_NAME}",
    )
)
_TAILS = (
    re.compile(rf"RENAME TABLE {_NAME} TO {_NAME}(?:,\s*{_NAME} TO {_NAME})*"),
    re.compile(rf"EXCHANGE TABLES {_NAME} AND {_NAME}"),
)
_DATA = re.compile(r"INSERT INTO ")
_ENGINE = re.compile(r"\bENGINE = (?!Replicated)(\w*MergeTree)\b(?:\(([^()]*)\))?")
_WINDOW = re.compile(r"\bnon_replicated_deduplication_window\b")
_SAID = re.compile(r"\bON CLUSTER\b")


def cluster_name(text: str) -> str:
    """`text`, when it can be the name of a cluster or a macro such as `{cluster}`; else raises `ConfigurationError`."""
    if _CLUSTER.fullmatch(text) is None:
        raise ConfigurationError(f"`{text[:40]}` is no name of a cluster: letters, digits, `_` and `-`, or a {{macro}}")
    return text


def on_cluster(statement: str, cluster: str) -> str:
    """`statement` for every server of `cluster`; unchanged where it says so already or only moves rows.

    Rows that one replica has are copied to the others, hence an INSERT is for one server alone. Raises
    `ConfigurationError` for a name that is none, `ValueError` for a statement that no rule here knows.
    """
    clause = f" ON CLUSTER `{cluster_name(cluster)}`"
    if _DATA.match(statement) or _SAID.search(statement):
        return statement
    head = next((match for pattern in _HEADS if (match := pattern.match(statement))), None)
    if head is not None:
        return statement[: head.end()] + clause + _replicated(statement[head.end() :])
    if any(pattern.fullmatch(statement) for pattern in _TAILS):
        return statement + clause
    raise ValueError(f"no rule to run `{statement[:60]}` on a cluster")


def _replicated(definition: str) -> str:
    definition = _WINDOW.sub("replicated_deduplication_window", definition)
    return _ENGINE.sub(_replicated_engine, definition)


def _replicated_engine(match: re.Match[str]) -> str:
    family, arguments = match[1], (match[2] or "").strip()
    own = f", {arguments}" if arguments else ""
    return f"ENGINE = Replicated{family}('{PATH}', '{REPLICA}'{own})"
