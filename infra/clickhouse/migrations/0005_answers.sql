-- For how long an approval holds and for what; who closed an incident, and why.
ALTER TABLE commands_log
    ADD COLUMN IF NOT EXISTS scope LowCardinality(String) AFTER reason,
    ADD COLUMN IF NOT EXISTS grant_until String AFTER scope;

CREATE OR REPLACE VIEW commands AS SELECT * FROM commands_log FINAL;

ALTER TABLE incidents_log
    ADD COLUMN IF NOT EXISTS closed_by String AFTER command_ids,
    ADD COLUMN IF NOT EXISTS note String AFTER closed_by;

CREATE OR REPLACE VIEW incidents AS SELECT * EXCEPT version FROM incidents_log FINAL;
