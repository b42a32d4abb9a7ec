"""A back-test over recorded events: the worker's own step, with two policies that decide on the same assessments."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import msgspec

from vaultak.policy import PolicySettings
from vaultak.policy.rules import Bundle, Occasion, Tally
from vaultak.wire import Action
from vaultak_streams.backtest.report import EXAMPLE_CHARS, EXAMPLES, Example, Group, Report, make_report
from vaultak_streams.judging import load_profile, make_pipeline
from vaultak_streams.pipeline.decide import Rules, Ruling
from vaultak_streams.pipeline.engine import Assessment
from vaultak_streams.pipeline.sessions import SessionTraits
from vaultak_streams.pipeline.shard import Shard
from vaultak_streams.recordings import read_lines
from vaultak_streams.replay import batches


def backtest_recording(
    input: Path,  # noqa: A002 - as the command's option is called
    bundle: Bundle,
    *,
    against: PolicySettings | None = None,
    history: Path | None = None,
    model: Path | None = None,
) -> Report:
    """Judge recorded events by `against` (limits and rules; default: the limits' defaults) and by the same limits with
    `bundle` for rules. `history` teaches the baselines only.

    Memory is bounded by the number of agents and of kinds of results. Raises `RecordingError` for a file that cannot
    be read, `ConfigurationError` for a bad model, `PolicyError` for bad rules.
    """
    started = time.perf_counter()
    limits = against or PolicySettings()
    seen = _Compared(limits, bundle)
    pipeline = make_pipeline(seen, model)
    shard = Shard(0, load_profile)
    offset = 0
    for path in (history, input):
        if path is None:
            continue
        seen.counts = path is input
        for records in batches(read_lines(path), offset):
            pipeline.process(records, shard, None)
            shard.drain()
            offset = records[-1].offset + 1
    return make_report(
        bundle,
        seen.groups(),
        source=str(input),
        unknown={},
        answers=None,
        elapsed_s=time.perf_counter() - started,
    )


class _Compared(Rules):
    """The new policy, which asks the old one what it would have said and keeps count of both."""

    def __init__(self, before: PolicySettings, bundle: Bundle) -> None:
        super().__init__(msgspec.structs.replace(before, rules=bundle))
        self._before = Rules(before)
        self._positions = {rule.id: position for position, rule in enumerate(bundle.rules)}
        self._pasts: dict[str, Tally] = {}
        self._groups: dict[tuple[object, ...], Group] = {}
        self.counts = False

    def groups(self) -> list[Group]:
        return list(self._groups.values())

    def decide(
        self,
        action: Action,
        assessment: Assessment,
        actions_per_minute: float,
        session: SessionTraits,
        occasion: Occasion,
    ) -> Ruling:
        past = occasion.beside(self._pasts.setdefault(action.agent_id, Tally()))
        before = self._before.decide(action, assessment, actions_per_minute, copy.copy(session), past)
        after = super().decide(action, assessment, actions_per_minute, session, occasion)
        if self.counts:
            self._count(action, before, after)
        return after

    def _count(self, action: Action, before: Ruling, after: Ruling) -> None:
        ruled = after.ruled
        matched = tuple(sorted(self._positions[rule] for rule in {*ruled.rules, *ruled.shadow}))
        failed = tuple(sorted(self._positions[rule] for rule in ruled.failed))
        told = bool(matched or failed) or before.decision is not after.decision
        key = (action.agent_id if told else "", before.decision, after.decision, matched, failed)
        known = self._groups.get(key)
        if known is None:
            known = Group(key[0], before.decision, after.decision, matched, failed, 0)
        examples = known.examples
        if told and len(examples) < EXAMPLES:
            examples = (*examples, _example(action))
        self._groups[key] = msgspec.structs.replace(known, count=known.count + 1, examples=examples)


def _example(action: Action) -> Example:
    payload = msgspec.json.encode(action.payload).decode(errors="replace")
    return Example(
        ts=action.ts,
        agent_id=action.agent_id,
        session_id=action.session_id,
        action_id=action.action_id,
        action_type=action.action_type.value,
        resource=action.resource,
        payload=payload[:EXAMPLE_CHARS],
    )
