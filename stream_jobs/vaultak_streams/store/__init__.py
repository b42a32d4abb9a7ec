"""The audit store: ClickHouse, reached by clickhouse-connect, whether embedded, a server or a cluster."""
