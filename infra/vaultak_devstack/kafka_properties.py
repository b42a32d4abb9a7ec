"""`server.properties` of a broker on one machine: KRaft, combined roles, loopback only, sized for a laptop."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vaultak_devstack.ports import LOOPBACK

MAX_MESSAGE_BYTES = 9 * 1024 * 1024
"""Above the largest `max_message_bytes` of any topic, and room for the batch around it."""


class Node(msgspec.Struct, frozen=True):
    """One broker's place in a cluster: ids from 1, ports on loopback."""

    node_id: int
    port: int
    controller_port: int


_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


_OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"


class Secured(msgspec.Struct, frozen=True):
    """A second listener for clients: TLS on both sides, SCRAM-SHA-512 or OAUTHBEARER, and ACLs.

    They are for all but who comes in plain text (loopback).
    """

    port: int
    certificate: Path
    """PEM: the broker's private key and its certificate chain."""
    authority: Path
    """PEM: who signs clients' certificates."""


def secured_properties(node: Node, secured: Secured) -> dict[str, str]:
    """What differs from `server_properties`."""
    plain = f"PLAINTEXT://{LOOPBACK}:{node.port}"
    own = f"SECURE://{LOOPBACK}:{secured.port}"
    listener = "listener.name.secure."
    return {
        "listeners": f"{plain},{own},CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": f"{plain},{own}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
        f"{listener}sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
        # Unsigned tokens: enough to see that clients present theirs.
        f"{listener}oauthbearer.sasl.jaas.config": f'{_OAUTH} required unsecuredLoginStringClaim_sub="broker";',
        f"{listener}ssl.client.auth": "required",
        f"{listener}ssl.truststore.type": "PEM",
        f"{listener}ssl.truststore.location": str(secured.authority),
        f"{listener}scram-sha-512.sasl.jaas.config": f"{_SCRAM} required;",
        f"{listener}ssl.keystore.type": "PEM",
        f"{listener}ssl.keystore.location": str(secured.certificate),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
    }


def server_properties(node: Node, nodes: tuple[Node, ...], log_dir: Path) -> dict[str, str]:
    """Everything `kafka.Kafka` needs to know. `nodes`: all of the cluster, this one among them."""
    replication = min(3, len(nodes))
    in_sync = str(max(1, replication - 1))
    copies = str(replication)
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.node_id),
        "controller.quorum.voters": ",".join(f"{n.node_id}@{LOOPBACK}:{n.controller_port}" for n in nodes),
        "listeners": f"PLAINTEXT://{LOOPBACK}:{node.port},CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{node.port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(log_dir),
        "auto.create.topics.enable": "false",
        "num.partitions": "8",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "message.max.bytes": str(MAX_MESSAGE_BYTES),
        "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
        # Internal topics: by default 50 partitions each, which a laptop's start would pay for.
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "2",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        # Consumers need not wait for others that might come.
        "group.initial.rebalance.delay.ms": "0",
        # A broker that was killed is noticed, and let in again, sooner.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "controller.quorum.election.timeout.ms": "500",
        "controller.quorum.fetch.timeout.ms": "1000",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "num.replica.fetchers": "1",
        "background.threads": "2",
        "log.cleaner.threads": "1",
        "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
        "controlled.shutdown.enable": "true" if len(nodes) > 1 else "false",
    }


def render(properties: dict[str, str]) -> str:
    """In the format of Java properties. Raises `ValueError` for a line break in a value."""
    for value in properties.values():
        if "\n" in value or "\r" in value:
            raise ValueError(f"`{value!r}` has a line break")
    escaped = {key: value.replace("\\", "\\\\") for key, value in properties.items()}
    return "".join(f"{key}={value}\n" for key, value in escaped.items())
