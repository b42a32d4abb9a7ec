"""The HTTP gateway: for agents that speak neither Kafka nor Python. It judges, records and obeys as the SDK does."""
