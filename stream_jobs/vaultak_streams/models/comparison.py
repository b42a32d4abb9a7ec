"""`vaultak model compare`: which verdicts would be others if another model judged, over recorded actions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from vaultak.policy import PolicySettings
from vaultak.wire import SEVERITY, Verdict
from vaultak_models.registry import Registry
from vaultak_streams.judging import load_profile, make_pipeline
from vaultak_streams.models.sources import stored_values
from vaultak_streams.pipeline.shard import Shard
from vaultak_streams.recordings import read_lines
from vaultak_streams.replay import batches
from vaultak_streams.store.client import Store

MAX_CHANGES: Final = 1_000
"""Kinds of changes (agent, before, after) that are told apart; what comes beyond is counted, not shown."""
EXAMPLES: Final = 3
"""Of each kind of change: the first ones."""


class Example(msgspec.Struct, frozen=True):
    """An action whose decision would be another; `risk_before` and `risk_after` are 0..1."""

    action_id: str
    session_id: str
    ts: str
    risk_before: float
    risk_after: float


class Change(msgspec.Struct):
    """Decisions of one agent that would go from `before` to `after`."""

    agent_id: str
    before: str
    after: str
    count: int = 0
    examples: list[Example] = msgspec.field(default_factory=list)


class Comparison(msgspec.Struct, kw_only=True):
    """Two models over the same actions, each with baselines of its own, under one policy."""

    before: str
    """Version of the first model; `after` of the second."""
    after: str
    policy_version: str
    actions: int = 0
    unreadable: int = 0
    """Lines or rows that could not be judged."""
    risk_changed: int = 0
    """Actions whose risk, of four digits, would be another."""
    largest_difference: float = 0.0
    """Of the risk of one action, 0..1."""
    changed: int = 0
    """Actions whose decision would be another; of these, `stricter` would be decided more severely."""
    stricter: int = 0
    changes: list[Change] = msgspec.field(default_factory=list)
    """The most frequent first."""
    not_shown: int = 0
    """Changed decisions that are in none of `changes`: there were too many kinds."""


def compare(
    registry: Registry,
    before: str,
    after: str,
    *,
    policy: PolicySettings | None = None,
    files: Sequence[Path] = (),
    store: Store | None = None,
    since: str | None = None,
) -> Comparison:
    """Judge recordings, or the store since then, with both versions by the code that the worker runs.

    Raises `RegistryError` and `ModelError` for a version that cannot be used, `RecordingError`, and what the store
    raises.
    """
    for version in (before, after):
        registry.model_of(version)
    rules = policy or PolicySettings()
    pipelines = [make_pipeline(rules, registry.place_of(version)) for version in (before, after)]
    shards = [Shard(0, load_profile) for _ in pipelines]
    found = Comparison(before=before, after=after, policy_version=pipelines[0].policy_version)
    changes: dict[tuple[str, str, str], Change] = {}
    values = _lines(files) if store is None else stored_values(store, since)
    for records in batches(values, 0):
        results = []
        for pipeline, shard in zip(pipelines, shards, strict=True):
            results.append(pipeline.process(records, shard, None))
            shard.drain()
        counters = results[0].counters
        found.unreadable += sum(n for name, n in counters.items() if name.startswith("dead_letters."))
        # By name: an action that only one of the models could not judge has one verdict alone.
        others = {(verdict.agent_id, verdict.action_id): verdict for verdict in results[1].verdicts}
        for old in results[0].verdicts:
            if new := others.get((old.agent_id, old.action_id)):
                _note(found, changes, old, new)
    found.changes = sorted(changes.values(), key=lambda c: (-c.count, c.agent_id, c.before, c.after))
    return found


def _lines(files: Iterable[Path]) -> Iterator[bytes]:
    for path in files:
        yield from read_lines(path)


def _note(found: Comparison, changes: dict[tuple[str, str, str], Change], old: Verdict, new: Verdict) -> None:
    found.actions += 1
    difference = round(abs(new.risk - old.risk), 4)
    found.risk_changed += difference > 0
    found.largest_difference = max(found.largest_difference, difference)
    if old.decision is new.decision:
        return
    found.changed += 1
    found.stricter += SEVERITY[new.decision] > SEVERITY[old.decision]
    key = (old.agent_id, old.decision.value, new.decision.value)
    change = changes.get(key)
    if change is None:
        if len(changes) >= MAX_CHANGES:
            found.not_shown += 1
            return
        change = changes[key] = Change(*key)
    change.count += 1
    if len(change.examples) < EXAMPLES:
        change.examples.append(Example(old.action_id, old.session_id, old.ts, old.risk, new.risk))
