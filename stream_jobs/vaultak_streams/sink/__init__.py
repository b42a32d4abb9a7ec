"""From Kafka to ClickHouse: every record delivered at least once, every row visible exactly once.

A batch is inserted first and its offsets committed after, so nothing is lost; every table keeps one row per identity
(the hash of an event, the id of an action, a command, an ack ...), so whatever is inserted again changes nothing.
"""
