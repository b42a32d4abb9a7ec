"""A deployment's own figures for what actions can do at worst, before the defaults of `static_risk`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from vaultak.policy.static_risk import RiskTables
from vaultak.wire import ActionType

Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Verb = Annotated[str, Meta(pattern="^[a-z]+$", max_length=64)]
Pattern = Annotated[str, Meta(min_length=1, max_length=512)]


class RiskOverrides(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`risk` of a policy. What it does not name keeps its default; each figure is in 0..1."""

    destructiveness: Annotated[dict[ActionType, Unit], Meta(max_length=64)] = {}
    verbs: Annotated[dict[Verb, Unit], Meta(max_length=1_000)] = {}
    """First words of tools' names, and of statements to a database."""
    sensitivity: Annotated[dict[Pattern, Unit], Meta(max_length=1_000)] = {}
    """By pattern of the resource, in the order of trying; all before the default ones."""
    default_sensitivity: Unit | None = None

    def tables(self) -> RiskTables:
        """The default tables with these figures."""
        base = RiskTables()
        given = self.default_sensitivity
        return RiskTables(
            destructiveness={**base.destructiveness, **self.destructiveness},
            verbs={**base.verbs, **self.verbs},
            sensitivity=(*((value, (pattern,)) for pattern, value in self.sensitivity.items()), *base.sensitivity),
            default_sensitivity=base.default_sensitivity if given is None else given,
        )
