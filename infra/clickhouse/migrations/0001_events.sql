-- The raw log: every record of `vaultak.actions` as it came, once, however often it was delivered.
-- An event is known by the hash of its bytes: what an SDK sends again after a crash is the same bytes.
CREATE TABLE events_log
(
    agent_id    String CODEC(ZSTD(1)),
    event_id    UInt128 COMMENT 'BLAKE2b-128 of the value' CODEC(NONE),
    kind        LowCardinality(String) COMMENT 'action, outcome, context, or undecodable',
    session_id  String CODEC(ZSTD(1)),
    action_id   String CODEC(ZSTD(1)),
    instance    LowCardinality(String),
    seq         Nullable(UInt64) CODEC(ZSTD(1)),
    ts          DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    topic       LowCardinality(String),
    partition   UInt32 CODEC(T64, ZSTD(1)),
    offset      UInt64 CODEC(Delta, ZSTD(1)),
    value       String CODEC(ZSTD(3)),
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(ingested_at)
ORDER BY (agent_id, event_id)
TTL toDateTime(ingested_at) + INTERVAL 400 DAY;

CREATE VIEW events AS SELECT * FROM events_log FINAL;
