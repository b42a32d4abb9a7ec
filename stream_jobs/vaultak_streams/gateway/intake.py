"""From events to answers: whose they are, how many, judged and recorded in order, waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from vaultak.chain import Publishes
from vaultak.wire import Decision
from vaultak_streams.gateway.keys import ApiKey
from vaultak_streams.gateway.member import Member
from vaultak_streams.gateway.members import Members
from vaultak_streams.gateway.messages import ActionSent, Answer, OutcomeSent, Sent
from vaultak_streams.gateway.options import GatewayOptions
from vaultak_streams.gateway.quota import Quotas
from vaultak_streams.gateway.refusals import busy, not_yours, too_fast
from vaultak_streams.gateway.verdicts import Recent
from vaultak_streams.metrics.histogram import Histogram


class Stats(Protocol):
    @property
    def pending_bytes(self) -> int: ...


class Delivers(Publishes, Protocol):
    """What is needed of a publisher."""

    @property
    def stats(self) -> Stats: ...


class Counts(msgspec.Struct, kw_only=True):
    """Since the start of the process."""

    actions: int = 0
    outcomes: int = 0
    contexts: int = 0
    duplicates: int = 0
    refused: dict[str, int] = {}
    """Requests by HTTP status."""
    decisions: dict[str, int] = {}
    """Answers by decision, as they were given."""


class Intake:
    """Takes events of clients. Lives on the event loop."""

    def __init__(self, members: Members, recent: Recent, publisher: Delivers, options: GatewayOptions) -> None:
        self._members, self._recent, self._publisher, self._options = members, recent, publisher, options
        self._quotas = Quotas(options.per_second, options.burst)
        self.waiting = 0
        self.counts = Counts()
        self.latency = Histogram()

    async def take(self, key: ApiKey, events: Sequence[Sent], wait_s: float) -> list[Answer]:
        """Judge and record, all or nothing; then wait up to `wait_s` for what the pipeline and operators say.

        Raises `RefusedError`.
        """
        started = time.perf_counter()
        agent_ids = dict.fromkeys(sent.agent_id for sent in events)
        for agent_id in agent_ids:
            if not key.covers(agent_id):
                raise not_yours(agent_id)
        self._make_sure(key, len(events), wait_s)
        members = dict(zip(agent_ids, await asyncio.gather(*map(self._members.get, agent_ids)), strict=True))
        answers = [self._one(members[sent.agent_id], sent) for sent in events]
        self.latency.observe(time.perf_counter() - started)
        if wait_s > 0:
            await self.wait(
                [(sent.agent_id, answer.action_id) for sent, answer in zip(events, answers, strict=True)], wait_s
            )
            answers = [self._now(sent.agent_id, answer) for sent, answer in zip(events, answers, strict=True)]
        for answer in answers:
            self.counts.decisions[answer.decision] = self.counts.decisions.get(answer.decision, 0) + 1
        return answers

    def _make_sure(self, key: ApiKey, events: int, wait_s: float) -> None:
        """That there is room for a request. Raises `RefusedError`."""
        if self._publisher.stats.pending_bytes > self._options.max_pending_bytes:
            raise busy("the broker does not keep up; nothing of this request was taken", 5.0)
        if wait_s > 0 and self.waiting >= self._options.max_waiting:
            raise busy("too many requests wait already; ask without `wait`")
        if (retry_s := self._quotas.spend(key.key_id, events, time.monotonic())) > 0:
            raise too_fast(retry_s)

    def _one(self, member: Member, sent: Sent) -> Answer:
        if isinstance(sent, ActionSent):
            if sent.action_id and (known := self._recent.get(sent.agent_id, sent.action_id)) is not None:
                self.counts.duplicates += 1
                return known.answer(duplicate=True)
            judgement = member.judge(sent)
            self._recent.add(judgement)
            self.counts.actions += 1
            return judgement.answer()
        if isinstance(sent, OutcomeSent):
            member.outcome(sent)
            self.counts.outcomes += 1
            return Answer(action_id=sent.action_id, decision=Decision.ALLOW)
        self.counts.contexts += 1
        return Answer(action_id=member.context(sent), decision=Decision.ALLOW)

    def _now(self, agent_id: str, answer: Answer) -> Answer:
        judgement = self._recent.get(agent_id, answer.action_id)
        return answer if judgement is None else judgement.answer(duplicate=answer.duplicate)

    async def wait(self, actions: Sequence[tuple[str, str]], wait_s: float) -> None:
        """Until nothing more is to be known of these actions, or the time is over."""
        until_s = asyncio.get_running_loop().time() + wait_s
        self.waiting += 1
        try:
            for agent_id, action_id in actions:
                judgement = self._recent.get(agent_id, action_id)
                if judgement is not None:
                    await judgement.wait(until_s)
        finally:
            self.waiting -= 1

    def knows(self, agent_id: str, action_id: str) -> bool:
        """Whether an action was taken, not too long ago."""
        return self._recent.get(agent_id, action_id) is not None

    def find(self, key: ApiKey, agent_id: str, action_id: str) -> Answer | None:
        """How an action stands now. Raises `RefusedError` where the key does not cover the agent."""
        if not key.covers(agent_id):
            raise not_yours(agent_id)
        judgement = self._recent.get(agent_id, action_id)
        return None if judgement is None else judgement.answer()
