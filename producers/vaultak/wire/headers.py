"""Message headers: the CloudEvents 1.0 Kafka protocol binding, binary content mode."""

from __future__ import annotations

CONTENT_TYPE_JSON = "application/json; charset=utf-8"

Headers = list[tuple[str, bytes]]


def ce_headers(kind: str, event_id: str, source: str, ts: str) -> Headers:
    """Headers for a message of `kind` (`action`, `verdict`, `command` ...), schema version 1.

    `source` is a URI reference: `/agents/<agent_id>` for what an agent sends, `/workers/<name>` for a worker.
    """
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", b"vaultak.%b.v1" % kind.encode()),
        ("ce_source", source.encode()),
        ("ce_time", ts.encode()),
        ("content-type", CONTENT_TYPE_JSON.encode()),
    ]
