-- What was ordered, what agents did about it, where they stand, what went wrong.
CREATE TABLE commands_log
(
    command_id  String CODEC(ZSTD(1)),
    agent_id    String CODEC(ZSTD(1)),
    command     LowCardinality(String),
    ts          DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    expires_at  DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    issued_by   String CODEC(ZSTD(1)),
    epoch       UInt64 CODEC(ZSTD(1)),
    action_id   String CODEC(ZSTD(1)),
    incident_id String CODEC(ZSTD(1)),
    reason      String CODEC(ZSTD(1)),
    key_id      LowCardinality(String),
    signature   String CODEC(NONE),
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(ingested_at)
ORDER BY (agent_id, command_id);

CREATE VIEW commands AS SELECT * FROM commands_log FINAL;

CREATE TABLE acks_log
(
    command_id  String CODEC(ZSTD(1)),
    agent_id    String CODEC(ZSTD(1)),
    instance    String CODEC(ZSTD(1)),
    ts          DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    result      LowCardinality(String),
    detail      String CODEC(ZSTD(1)),
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(ingested_at)
ORDER BY (agent_id, command_id, instance);

CREATE VIEW acks AS SELECT * FROM acks_log FINAL;

CREATE TABLE agent_states
(
    agent_id    String CODEC(ZSTD(1)),
    state       LowCardinality(String),
    epoch       UInt64 CODEC(ZSTD(1)),
    ts          DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    reason      String CODEC(ZSTD(1)),
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(epoch)
ORDER BY agent_id;

CREATE TABLE incidents_log
(
    incident_id String CODEC(ZSTD(1)),
    agent_id    String CODEC(ZSTD(1)),
    session_id  String CODEC(ZSTD(1)),
    ts          DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    status      LowCardinality(String),
    severity    LowCardinality(String),
    risk        Float64 CODEC(ZSTD(1)),
    title       String CODEC(ZSTD(1)),
    action_ids  Array(String) CODEC(ZSTD(1)),
    command_ids Array(String) CODEC(ZSTD(1)),
    version     UInt64 COMMENT 'offset of the record: the last one stands' CODEC(ZSTD(1)),
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (agent_id, incident_id);

CREATE VIEW incidents AS SELECT * EXCEPT version FROM incidents_log FINAL;

CREATE TABLE dead_letters_log
(
    reason          LowCardinality(String),
    detail          String CODEC(ZSTD(1)),
    topic           LowCardinality(String),
    partition       UInt32 CODEC(T64, ZSTD(1)),
    offset          UInt64 CODEC(Delta, ZSTD(1)),
    ts              DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    key_base64      String CODEC(ZSTD(1)),
    value_base64    String CODEC(ZSTD(3)),
    value_bytes     UInt64 CODEC(ZSTD(1)),
    value_truncated Bool CODEC(ZSTD(1)),
    value_sha256    String CODEC(ZSTD(1)),
    ingested_at     DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(ingested_at)
ORDER BY (topic, partition, offset, reason)
TTL toDateTime(ingested_at) + INTERVAL 400 DAY;

CREATE VIEW dead_letters AS SELECT * FROM dead_letters_log FINAL;
