-- Minute by minute, per agent. Sets instead of counters: an action that is written twice counts once.
CREATE TABLE agent_minutes_log
(
    agent_id String CODEC(ZSTD(1)),
    minute   DateTime('UTC') CODEC(Delta, ZSTD(1)),
    actions  AggregateFunction(uniqExact, UInt64),
    stopped  AggregateFunction(uniqExactIf, UInt64, UInt8),
    alerted  AggregateFunction(uniqExactIf, UInt64, UInt8),
    max_risk SimpleAggregateFunction(max, Float64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (agent_id, minute);

-- Fed by verdicts: each action has exactly one, with the time of the action.
CREATE MATERIALIZED VIEW agent_minutes_feed TO agent_minutes_log AS
SELECT
    agent_id,
    toStartOfMinute(toDateTime(assumeNotNull(ts), 'UTC')) AS minute,
    uniqExactState(sipHash64(action_id)) AS actions,
    uniqExactIfState(sipHash64(action_id), assumeNotNull(decision) IN ('pause', 'block', 'rollback', 'kill')) AS stopped,
    uniqExactIfState(sipHash64(action_id), assumeNotNull(decision) = 'alert') AS alerted,
    max(assumeNotNull(risk)) AS max_risk
FROM action_parts
WHERE decision IS NOT NULL
GROUP BY agent_id, minute;

CREATE VIEW agent_minutes AS
SELECT
    agent_id,
    minute,
    uniqExactMerge(actions) AS actions,
    uniqExactIfMerge(stopped) AS stopped,
    uniqExactIfMerge(alerted) AS alerted,
    max(max_risk) AS max_risk
FROM agent_minutes_log
GROUP BY agent_id, minute;

-- The versions that judged, and when.
CREATE TABLE versions_log
(
    kind       LowCardinality(String) COMMENT 'policy or model',
    version    String,
    first_seen SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_seen  SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (kind, version);

CREATE MATERIALIZED VIEW versions_feed TO versions_log AS
SELECT v.1 AS kind, v.2 AS version, min(assumeNotNull(scored_ts)) AS first_seen, max(assumeNotNull(scored_ts)) AS last_seen
FROM (SELECT scored_ts, arrayJoin([('policy', ifNull(policy_version, '')), ('model', ifNull(model_version, ''))]) AS v FROM action_parts WHERE decision IS NOT NULL)
WHERE version != ''
GROUP BY kind, version;

CREATE VIEW policy_versions AS
SELECT version, min(first_seen) AS first_seen, max(last_seen) AS last_seen FROM versions_log WHERE kind = 'policy' GROUP BY version;

CREATE VIEW model_versions AS
SELECT version, min(first_seen) AS first_seen, max(last_seen) AS last_seen FROM versions_log WHERE kind = 'model' GROUP BY version;

-- Where each agent stands.
CREATE VIEW agents AS
SELECT
    a.agent_id AS agent_id,
    if(s.state = '', 'running', s.state) AS state,
    s.reason AS state_reason,
    a.actions AS actions,
    a.stopped AS stopped,
    a.max_risk AS max_risk,
    a.last_minute AS last_action,
    b.baseline_events AS baseline_events
FROM
(
    SELECT agent_id, uniqExactMerge(actions) AS actions, uniqExactIfMerge(stopped) AS stopped,
           max(max_risk) AS max_risk, max(minute) AS last_minute
    FROM agent_minutes_log GROUP BY agent_id
) AS a
LEFT JOIN (SELECT agent_id, state, reason FROM agent_states FINAL) AS s ON s.agent_id = a.agent_id
LEFT JOIN (SELECT agent_id, max(baseline_events) AS baseline_events FROM action_parts GROUP BY agent_id) AS b ON b.agent_id = a.agent_id;
