-- A keyed hash of the verdict, by the sink, with a key that the store does not know: 8 bytes an action.
ALTER TABLE action_parts
    ADD COLUMN IF NOT EXISTS verdict_seal SimpleAggregateFunction(anyLast, Nullable(UInt64)) CODEC(NONE) AFTER baseline_events;
