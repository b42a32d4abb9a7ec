"""Who may do what on a deployment's topics: declared in `infra/kafka/acls.yaml`, applied over Kafka's own protocol."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import CreateAclsRequest

from vaultak.config import Settings
from vaultak.kafka_clients import client_kwargs
from vaultak_devstack.errors import DevstackError
from vaultak_devstack.resources import infra_path


class Resource(IntEnum):
    """Kafka's numbers."""

    TOPIC = 2
    GROUP = 3


class Operation(IntEnum):
    """Kafka's numbers. Describing comes with reading and writing."""

    READ = 3
    WRITE = 4


_LITERAL: Final = 3
_ALLOW: Final = 3


class Acl(msgspec.Struct, frozen=True, order=True):
    """One principal may do one thing."""

    principal: str
    resource: Resource
    name: str
    operation: Operation

    def command(self) -> str:
        """For `kafka-acls.sh --bootstrap-server ...`."""
        kind = "--topic" if self.resource is Resource.TOPIC else "--group"
        words = ["--add", "--allow-principal", self.principal, "--operation", self.operation.name.title(), kind]
        return "kafka-acls.sh --bootstrap-server $BROKER " + shlex.join([*words, self.name])


class _Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: str
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class _Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    roles: dict[str, _Role]


def roles() -> dict[str, _Role]:
    """What is declared, by role."""
    return msgspec.yaml.decode(infra_path("kafka/acls.yaml").read_bytes(), type=_Declared).roles


def acls_for(principals: Mapping[str, Iterable[str]], prefix: str) -> list[Acl]:
    """The ACLs of principals (`User:name`) by role. Raises `DevstackError` for a role or a principal that is none."""
    return sorted(_each(principals, prefix))


def _each(principals: Mapping[str, Iterable[str]], prefix: str) -> Iterator[Acl]:
    declared = roles()
    for role, names in principals.items():
        if role not in declared:
            raise DevstackError(f"no role `{role[:40]}`; there are {', '.join(declared)}")
        rights = declared[role]
        for principal in names:
            if not principal.startswith("User:") or principal in ("User:", "User:*"):
                raise DevstackError(f"`{principal[:80]}` is no principal: name it like User:agent-7")
            for topics, operation in ((rights.read, Operation.READ), (rights.write, Operation.WRITE)):
                yield from (Acl(principal, Resource.TOPIC, f"{prefix}.{topic}", operation) for topic in topics)
            groups = (f"{prefix}.{group}" for group in rights.groups)
            yield from (Acl(principal, Resource.GROUP, group, Operation.READ) for group in groups)


async def apply_acls(settings: Settings, acls: Iterable[Acl]) -> int:
    """Create them; what is there already stays. Returns how many. Raises `DevstackError` with the broker's reason."""
    admin = AIOKafkaAdminClient(**client_kwargs(settings))
    created = 0
    try:
        await admin.start()
        for acl in acls:
            request = CreateAclsRequest(
                int(acl.resource), acl.name, _LITERAL, acl.principal, "*", int(acl.operation), _ALLOW
            )
            answer = await admin._send_request(request)  # aiokafka offers no method of its own for ACLs
            for code, why in answer.creation_responses:
                if code != 0:
                    raise DevstackError(f"the broker refuses ACLs: {why or f'error {code}'}")
            created += 1
    except (KafkaError, OSError) as e:
        raise DevstackError(f"no broker answers at `{settings.bootstrap_servers}`: {e}") from None
    finally:
        await admin.close()
    return created
