-- Whose trail is kept whatever the retention says: every change, so that it shows who put on and lifted a hold, and why.
CREATE TABLE legal_holds_log
(
    agent_id   String CODEC(ZSTD(1)),
    held       Bool,
    reason     String CODEC(ZSTD(1)),
    changed_by String CODEC(ZSTD(1)),
    changed_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (agent_id, changed_at);

CREATE VIEW legal_holds AS
SELECT agent_id, argMax(reason, l.changed_at) AS reason, argMax(changed_by, l.changed_at) AS changed_by, max(l.changed_at) AS changed_at
FROM legal_holds_log AS l
GROUP BY agent_id
HAVING argMax(held, l.changed_at);
