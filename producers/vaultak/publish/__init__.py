"""From the agent's thread to Kafka: a durable queue on disk, and one thread that empties it."""

from vaultak.publish.publisher import Publisher, PublisherStats

__all__ = ["Publisher", "PublisherStats"]
