-- One row per action: the event, its outcome and its verdict arrive apart, in any order, some more than once.
-- Each part fills its own columns; merging keeps the value that is not null. Writing a part twice changes nothing.
CREATE TABLE action_parts
(
    agent_id           String CODEC(ZSTD(1)),
    action_id          String CODEC(ZSTD(1)),
    -- the event
    session_id         SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(1)),
    instance           SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(1)),
    seq                SimpleAggregateFunction(anyLast, Nullable(UInt64)) CODEC(ZSTD(1)),
    ts                 SimpleAggregateFunction(anyLast, Nullable(DateTime64(6, 'UTC'))) CODEC(Delta, ZSTD(1)),
    action_type        SimpleAggregateFunction(anyLast, LowCardinality(Nullable(String))),
    resource           SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(1)),
    payload            SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(3)),
    payload_bytes      SimpleAggregateFunction(anyLast, Nullable(UInt64)) CODEC(ZSTD(1)),
    payload_truncated  SimpleAggregateFunction(anyLast, Nullable(Bool)) CODEC(ZSTD(1)),
    parent_action_id   SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(1)),
    trace_id           SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(1)),
    labels             SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(1)),
    assurance          SimpleAggregateFunction(anyLast, LowCardinality(Nullable(String))),
    local_decision     SimpleAggregateFunction(anyLast, LowCardinality(Nullable(String))),
    local_risk         SimpleAggregateFunction(anyLast, Nullable(Float32)) CODEC(ZSTD(1)),
    local_reasons      SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(1)),
    -- the outcome
    outcome_status     SimpleAggregateFunction(anyLast, LowCardinality(Nullable(String))),
    outcome_ts         SimpleAggregateFunction(anyLast, Nullable(DateTime64(6, 'UTC'))) CODEC(Delta, ZSTD(1)),
    duration_ms        SimpleAggregateFunction(anyLast, Nullable(Float64)) CODEC(ZSTD(1)),
    content            SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(3)),
    error              SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(1)),
    -- the verdict
    scored_ts          SimpleAggregateFunction(anyLast, Nullable(DateTime64(6, 'UTC'))) CODEC(Delta, ZSTD(1)),
    risk               SimpleAggregateFunction(anyLast, Nullable(Float64)) CODEC(ZSTD(1)),
    destructiveness    SimpleAggregateFunction(anyLast, Nullable(Float32)) CODEC(ZSTD(1)),
    sensitivity        SimpleAggregateFunction(anyLast, Nullable(Float32)) CODEC(ZSTD(1)),
    payload_factor     SimpleAggregateFunction(anyLast, Nullable(Float32)) CODEC(ZSTD(1)),
    rate               SimpleAggregateFunction(anyLast, Nullable(Float32)) CODEC(ZSTD(1)),
    behaviour          SimpleAggregateFunction(anyLast, Nullable(Float32)) CODEC(ZSTD(1)),
    provenance         SimpleAggregateFunction(anyLast, Nullable(Float32)) CODEC(ZSTD(1)),
    explanation        SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(3)),
    decision           SimpleAggregateFunction(anyLast, LowCardinality(Nullable(String))),
    rules              SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(1)),
    reasons            SimpleAggregateFunction(anyLast, Nullable(String)) CODEC(ZSTD(1)),
    policy_version     SimpleAggregateFunction(anyLast, LowCardinality(Nullable(String))),
    model_version      SimpleAggregateFunction(anyLast, LowCardinality(Nullable(String))),
    baseline_events    SimpleAggregateFunction(anyLast, Nullable(UInt64)) CODEC(ZSTD(1)),
    ingested_at        SimpleAggregateFunction(max, DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(1)),
    ingested_day       Date CODEC(Delta, ZSTD(1)),
    INDEX resources resource TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(ingested_day)
ORDER BY (agent_id, action_id)
TTL ingested_day + INTERVAL 400 DAY;

-- A part without its action (an outcome or a verdict that came first) shows up when the action does.
CREATE VIEW actions AS
SELECT
    assumeNotNull(ts) AS ts,
    agent_id,
    ifNull(instance, '') AS instance,
    ifNull(session_id, '') AS session_id,
    action_id,
    seq,
    assumeNotNull(action_type) AS action_type,
    ifNull(resource, '') AS resource,
    ifNull(payload, '{}') AS payload,
    payload_bytes,
    ifNull(payload_truncated, false) AS payload_truncated,
    ifNull(parent_action_id, '') AS parent_action_id,
    ifNull(trace_id, '') AS trace_id,
    JSONExtract(ifNull(labels, '{}'), 'Map(String, String)') AS labels,
    ifNull(assurance, '') AS assurance,
    local_decision,
    local_risk,
    JSONExtract(ifNull(local_reasons, '[]'), 'Array(String)') AS local_reasons,
    outcome_status,
    outcome_ts,
    duration_ms,
    ifNull(content, '') AS content,
    ifNull(error, '') AS error,
    risk,
    decision,
    JSONExtract(ifNull(reasons, '[]'), 'Array(String)') AS reasons,
    JSONExtract(ifNull(rules, '[]'), 'Array(String)') AS rules,
    map('destructiveness', destructiveness, 'sensitivity', sensitivity, 'payload', payload_factor,
        'rate', rate, 'behaviour', behaviour, 'provenance', provenance) AS factors,
    ifNull(explanation, '[]') AS explanation,
    scored_ts,
    policy_version,
    model_version,
    baseline_events
FROM action_parts FINAL
WHERE action_type IS NOT NULL;
