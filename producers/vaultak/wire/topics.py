"""The names of the topics. What each is for, its partitions and clean-up: `infra/kafka/topics.yaml`."""

from __future__ import annotations

import re

import msgspec

DEFAULT_PREFIX = "vaultak"
# Kafka allows 249 characters in a topic's name; the longest suffix and Faust's changelog names need room.
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Topics(msgspec.Struct, frozen=True):
    """Every topic of one deployment. Raises `ValueError` for a prefix that Kafka would refuse."""

    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"topic prefix `{self.prefix[:64]}` is not a Kafka name (letters, digits, `.`, `_`, `-`)")

    @property
    def actions(self) -> str:
        return f"{self.prefix}.actions"

    @property
    def verdicts(self) -> str:
        return f"{self.prefix}.verdicts"

    @property
    def control(self) -> str:
        return f"{self.prefix}.control"

    @property
    def agent_state(self) -> str:
        return f"{self.prefix}.agent-state"

    @property
    def acks(self) -> str:
        return f"{self.prefix}.acks"

    @property
    def incidents(self) -> str:
        return f"{self.prefix}.incidents"

    @property
    def policies(self) -> str:
        return f"{self.prefix}.policies"

    @property
    def baselines(self) -> str:
        return f"{self.prefix}.baselines"

    @property
    def models(self) -> str:
        return f"{self.prefix}.models"

    @property
    def dead_letter(self) -> str:
        return f"{self.prefix}.dead-letter"

    @property
    def anchors(self) -> str:
        return f"{self.prefix}.anchors"

    def all(self) -> tuple[str, ...]:
        """Every topic, in the order of the contract; `anchors` came later."""
        return (
            self.actions, self.verdicts, self.control, self.agent_state, self.acks, self.incidents,
            self.policies, self.baselines, self.models, self.dead_letter, self.anchors,
        )  # fmt: skip
