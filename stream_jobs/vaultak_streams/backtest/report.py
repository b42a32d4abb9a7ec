"""What a back-test found, put together from counted groups of actions that are alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from vaultak.policy.rules import Bundle
from vaultak.wire import SEVERITY, Decision

EXAMPLES = 3
"""Shown of each kind of change."""
EXAMPLE_CHARS = 300
"""Of an example's payload."""
STOPPING = SEVERITY[Decision.PAUSE]


class Example(msgspec.Struct, frozen=True):
    """One recorded action. `payload` is cut."""

    ts: str
    agent_id: str
    session_id: str
    action_id: str
    action_type: str
    resource: str
    payload: str


class Group(msgspec.Struct, frozen=True):
    """Actions that are alike: their number, what was decided and what would be. `agent_id` may be empty where no rule
    matched and nothing changed. `matched` and `failed` are positions of rules."""

    agent_id: str
    before: Decision
    after: Decision
    matched: tuple[int, ...]
    failed: tuple[int, ...]
    count: int
    examples: tuple[Example, ...] = ()


class Answers(msgspec.Struct, frozen=True):
    """Actions that people were asked about: how many they approved and denied, and what would happen to those."""

    approved: int = 0
    approved_stopped: int = 0
    """Approved by a person, and would be stopped: likely false positives."""
    denied: int = 0
    denied_let_through: int = 0


class RuleResult(msgspec.Struct, frozen=True, kw_only=True):
    """One rule over the whole time. `alone`: actions that only this rule would stop."""

    id: str
    title: str
    enforce: str
    mode: str
    matched: int
    agents: int
    failed: int
    alone: int
    unknown: tuple[str, ...]
    """What the recording does not hold: fields, tried as if they were absent, and `rate`, as if every time were one too
    many."""
    examples: tuple[Example, ...]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Actions of one agent for which the decision would be another."""

    agent_id: str
    before: Decision
    after: Decision
    rules: tuple[str, ...]
    """Those that match now; none where a rule that stopped them is gone."""
    count: int
    examples: tuple[Example, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer. `stricter` actions would be decided more severely than they were, `milder` less."""

    source: str
    policy_version: str
    rules_tried: int
    actions: int
    stricter: int
    milder: int
    newly_stopped: int
    newly_let_through: int
    rules: tuple[RuleResult, ...]
    changes: tuple[Change, ...]
    answers: Answers | None
    elapsed_s: float

    @property
    def changed(self) -> int:
        return self.stricter + self.milder

    def passes(self, max_changed_percent: float) -> bool:
        """Whether so few decisions change, every rule could be evaluated and nothing that people approved stops."""
        few = self.changed * 100 <= max_changed_percent * self.actions
        evaluated = not any(rule.failed for rule in self.rules)
        return few and evaluated and (self.answers is None or not self.answers.approved_stopped)


def make_report(
    bundle: Bundle,
    groups: Iterable[Group],
    *,
    source: str,
    unknown: dict[str, tuple[str, ...]],
    answers: Answers | None,
    elapsed_s: float,
) -> Report:
    """Add up groups, in any order; the report's order is by weight, then by name."""
    tally = _Tally(bundle)
    for group in groups:
        tally.add(group)
    counts = tally.counts
    return Report(
        source=source,
        policy_version=bundle.version,
        rules_tried=len(bundle.rules),
        actions=counts["actions"],
        stricter=counts["stricter"],
        milder=counts["milder"],
        newly_stopped=counts["newly_stopped"],
        newly_let_through=counts["newly_let_through"],
        rules=tally.rules(unknown),
        changes=tally.changes(),
        answers=answers,
        elapsed_s=elapsed_s,
    )


class _Tally:
    def __init__(self, bundle: Bundle) -> None:
        self._rules = bundle.rules
        self.counts: Counter[str] = Counter()
        self._matched: Counter[int] = Counter()
        self._failed: Counter[int] = Counter()
        self._alone: Counter[int] = Counter()
        self._agents: defaultdict[int, set[str]] = defaultdict(set)
        self._examples: defaultdict[int, list[Example]] = defaultdict(list)
        self._changes: defaultdict[tuple[str, Decision, Decision, tuple[str, ...]], list[Group]] = defaultdict(list)
        self._severities = [SEVERITY[rule.enforce.decision] if rule.mode == "enforce" else 0 for rule in bundle.rules]

    def add(self, group: Group) -> None:
        self.counts["actions"] += group.count
        for position in group.matched:
            self._matched[position] += group.count
            self._agents[position].add(group.agent_id)
            kept = self._examples[position]
            kept.extend(group.examples[: EXAMPLES - len(kept)])
        for position in group.failed:
            self._failed[position] += group.count
        before, after = SEVERITY[group.before], SEVERITY[group.after]
        stopping = [position for position in group.matched if self._severities[position] >= STOPPING]
        if len(stopping) == 1 and before < STOPPING <= after:
            self._alone[stopping[0]] += group.count
        if before == after:
            return
        self.counts["stricter" if after > before else "milder"] += group.count
        if before < STOPPING <= after:
            self.counts["newly_stopped"] += group.count
        if after < STOPPING <= before:
            self.counts["newly_let_through"] += group.count
        ids = tuple(self._rules[position].id for position in (*group.matched, *group.failed))
        self._changes[group.agent_id, group.before, group.after, ids].append(group)

    def rules(self, unknown: dict[str, tuple[str, ...]]) -> tuple[RuleResult, ...]:
        found = [
            RuleResult(
                id=rule.id,
                title=rule.title,
                enforce=rule.enforce.value,
                mode=rule.mode.value,
                matched=self._matched[position],
                agents=len(self._agents[position]),
                failed=self._failed[position],
                alone=self._alone[position],
                unknown=unknown.get(rule.id, ()),
                examples=tuple(self._examples[position]),
            )
            for position, rule in enumerate(self._rules)
        ]
        return tuple(sorted(found, key=lambda rule: (-rule.matched, -rule.failed, rule.id)))

    def changes(self) -> tuple[Change, ...]:
        found = [
            Change(
                agent_id=agent_id,
                before=before,
                after=after,
                rules=ids,
                count=sum(group.count for group in groups),
                examples=tuple(example for group in groups for example in group.examples)[:EXAMPLES],
            )
            for (agent_id, before, after, ids), groups in self._changes.items()
        ]
        return tuple(sorted(found, key=lambda c: (-c.count, c.agent_id, c.before, c.after, c.rules)))
