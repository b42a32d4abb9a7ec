-- What the SDK stopped by itself counts as stopped, whatever the verdict says; by sets, so each action once.
CREATE MATERIALIZED VIEW agent_minutes_local_feed TO agent_minutes_log AS
SELECT
    agent_id,
    toStartOfMinute(toDateTime(assumeNotNull(ts), 'UTC')) AS minute,
    uniqExactState(sipHash64(action_id)) AS actions,
    uniqExactIfState(sipHash64(action_id), toUInt8(1)) AS stopped,
    uniqExactIfState(sipHash64(action_id), toUInt8(0)) AS alerted,
    toFloat64(0) AS max_risk
FROM action_parts
WHERE action_type IS NOT NULL AND local_decision IN ('pause', 'block', 'rollback', 'kill')
GROUP BY agent_id, minute;
