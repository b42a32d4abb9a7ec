"""What rules can ask of an action: its fields by name, the same in the SDK, in the stream job and in a back-test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

_TOOL = "tool:"
NO_PAYLOAD: Mapping[str, Any] = {}


class Subject(msgspec.Struct, frozen=True):
    """Whose action it is."""

    agent_id: str = ""
    session_id: str = ""
    labels: Mapping[str, str] = {}
    """`role` among them is a field of its own too."""


NOBODY = Subject()


def fields_of(
    subject: Subject, action_type: str, resource: str, payload: Mapping[str, Any], more: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of one action. `more`: risk, factors, counters. A field without a value is absent."""
    fields: dict[str, Any] = {
        "action_type": action_type,
        "resource": resource,
        "payload": payload,
        "agent_id": subject.agent_id,
        "session_id": subject.session_id,
        "labels": subject.labels,
        **more,
    }
    if resource.startswith(_TOOL):
        fields["tool"] = resource[len(_TOOL) :]
    if role := subject.labels.get("role"):
        fields["role"] = role
    return fields
