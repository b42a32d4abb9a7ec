"""A pushed policy reaches every agent while it acts, with no action missed or judged twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.operator_side import settings, until
from vaultak import Vaultak
from vaultak.control.policies import Shelf, pack, unpack
from vaultak.errors import PolicyError
from vaultak.policy.rules import Bundle
from vaultak.wire import Decision, PolicyRecord, Topics, uuid7
from vaultak_devstack.keys import policy_signer
from vaultak_streams.policy import bundle_from
from vaultak_streams.policy.push import push, roll_back

AGENTS = 20
RULE = """
title: The {id} rule
id: {id}
detection:
  selection: {{resource: target}}
  condition: selection
enforce: {enforce}
"""


def bundle(id: str, enforce: str) -> Bundle:
    return bundle_from([("r.yaml", RULE.format(id=id, enforce=enforce))])


def record(epoch: int, canary: dict[str, str] | None = None, **changes: Any) -> PolicyRecord:
    rules = bundle(f"rule-{epoch}", "alert")
    members: dict[str, Any] = {
        "policy_id": uuid7(), "epoch": epoch, "ts": "2026-01-01T00:00:00Z", "issued_by": "t",
        "version": rules.version, "bundle": pack(rules), "canary": canary or {},
    }  # fmt: skip
    return PolicyRecord(**members | changes)


# -- which one counts ---------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([{}, {"team": "x"}, {"team": "y"}])), max_size=12),
    st.sampled_from([{}, {"team": "x"}, {"team": "x", "role": "r"}, {"team": "z"}]),
    st.randoms(use_true_random=False),
)
def test_the_newest_for_an_agent_counts_in_whatever_order_they_come(
    given_: list[tuple[int, dict[str, str]]], labels: dict[str, str], random: Any
) -> None:
    pushed = [unpack(record(epoch, canary)) for epoch, canary in dict(given_).items()]
    fitting = [p for p in pushed if p.concerns(labels)]
    random.shuffle(pushed)
    shelf = Shelf()
    for one in pushed:
        shelf.add(one)
    newest = max(fitting, key=lambda p: p.record.epoch, default=None)
    assert shelf.for_labels(labels) is newest


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle": b"no gzip"},
        {"bundle": pack(bundle("a", "alert"))[:-9]},
        {"version": "r-another"},
        {"bundle": b""},
    ],
)
def test_a_record_that_is_not_what_it_says_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        unpack(record(1, **changes))


@given(st.binary(max_size=200))
def test_no_bytes_bring_unpacking_down(content: bytes) -> None:
    with pytest.raises(PolicyError):
        unpack(record(1, bundle=content))


# -- on a broker --------------------------------------------------------------------------------------------------


class Acting:
    """Agents that act without pause, each on a thread of its own, and what each was told."""

    def __init__(self, vt: Vaultak, labels: list[dict[str, str]]) -> None:
        self.decisions: dict[str, list[str]] = defaultdict(list)
        self._stop = threading.Event()
        monitors = [vt.monitor(f"agent-{n}", labels=own, intercept=False) for n, own in enumerate(labels)]
        self._threads = [threading.Thread(target=self._act, args=(monitor,)) for monitor in monitors]
        for thread in self._threads:
            thread.start()

    def _act(self, monitor: Any) -> None:
        own = self.decisions[monitor.agent_id]
        while not self._stop.is_set():
            own.append(monitor.check("custom", "target").decision.value)
            time.sleep(0.001)

    def all_say(self, decision: Decision, agents: int | None = None) -> bool:
        return sum(own[-1:] == [decision.value] for own in list(self.decisions.values())) == (
            len(self._threads) if agents is None else agents
        )

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def acting(vt: Vaultak, labels: list[dict[str, str]]) -> Iterator[Acting]:
    agents = Acting(vt, labels)
    try:
        yield agents
    finally:
        agents.end()


@pytest.mark.stack
def test_twenty_agents_under_load_take_a_push_over_and_back(broker: Any, topics: Topics, tmp_path: Path) -> None:
    config = settings(tmp_path, broker.bootstrap_servers, topics)
    sign = policy_signer(tmp_path)
    with Vaultak(settings=config, rollback_limit=0, state_timeout_s=20) as vt:
        with acting(vt, [{} for _ in range(AGENTS)]) as agents:
            until(lambda: agents.all_say(Decision.ALLOW))
            asyncio.run(push(config, sign, bundle("one", "alert"), wait_s=0.1))
            until(lambda: agents.all_say(Decision.ALERT))
            asyncio.run(push(config, sign, bundle("two", "block"), wait_s=0.1))
            until(lambda: agents.all_say(Decision.BLOCK))
            asyncio.run(roll_back(config, sign, wait_s=0.1))
            until(lambda: agents.all_say(Decision.ALERT))
    for own in agents.decisions.values():
        changes = [own[0], *(now for before, now in pairwise(own) if now != before)]
        assert changes == ["allow", "alert", "block", "alert"]


@pytest.mark.stack
def test_every_action_is_judged_once_and_by_the_policy_it_names(broker: Any, topics: Topics, tmp_path: Path) -> None:
    config = settings(tmp_path, broker.bootstrap_servers, topics)
    with Vaultak(settings=config, rollback_limit=0, state_timeout_s=20) as vt:
        with acting(vt, [{} for _ in range(4)]) as agents:
            until(lambda: agents.all_say(Decision.ALLOW))
            done = asyncio.run(push(config, policy_signer(tmp_path), bundle("stop", "block"), wait_s=3.0))
            until(lambda: agents.all_say(Decision.BLOCK))
        trails = [vt.monitor(f"agent-{n}", intercept=False)._agent.trail.entries() for n in range(4)]
    assert {ack.agent_id for ack, _ in done.acks} == {f"agent-{n}" for n in range(4)}
    for trail in trails:
        assert len({entry.action_id for entry in trail}) == len(trail)


@pytest.mark.stack
def test_a_canary_reaches_those_with_its_label_alone(broker: Any, topics: Topics, tmp_path: Path) -> None:
    config = settings(tmp_path, broker.bootstrap_servers, topics)
    sign = policy_signer(tmp_path)
    with Vaultak(settings=config, rollback_limit=0, state_timeout_s=20) as vt:
        with acting(vt, [{"ring": "0"}, {"ring": "1"}, {}]) as agents:
            until(lambda: agents.all_say(Decision.ALLOW))
            asyncio.run(push(config, sign, bundle("try", "block"), canary={"ring": "0"}, wait_s=0.5))
            until(lambda: agents.all_say(Decision.BLOCK, 1))
            assert agents.decisions["agent-0"][-1] == "block"
            assert {agents.decisions[f"agent-{n}"][-1] for n in (1, 2)} == {"allow"}
            asyncio.run(roll_back_to_none(config, sign))
            until(lambda: agents.all_say(Decision.ALERT))


async def roll_back_to_none(config: Any, sign: Any) -> None:
    """With nothing before the canary there is no way back; a push for everybody makes it void."""
    with pytest.raises(PolicyError):
        await roll_back(config, sign, wait_s=0.1)
    await push(config, sign, bundle("all", "alert"), wait_s=0.1)


@pytest.mark.stack
def test_an_agent_that_starts_later_begins_with_it(broker: Any, topics: Topics, tmp_path: Path) -> None:
    config = settings(tmp_path, broker.bootstrap_servers, topics)
    asyncio.run(push(config, policy_signer(tmp_path), bundle("early", "block"), wait_s=0.1))
    with Vaultak(settings=config, rollback_limit=0, state_timeout_s=20) as vt:
        assert vt.monitor("late", intercept=False).check("custom", "target").decision is Decision.BLOCK


@pytest.mark.stack
def test_what_nobody_trusted_signed_is_refused(broker: Any, topics: Topics, tmp_path: Path) -> None:
    config = settings(tmp_path, broker.bootstrap_servers, topics)
    with Vaultak(settings=config, rollback_limit=0, state_timeout_s=20) as vt:
        m = vt.monitor("a", intercept=False)
        asyncio.run(push(config, policy_signer(tmp_path / "stranger"), bundle("forged", "block"), wait_s=0.5))
        asyncio.run(push(config, policy_signer(tmp_path), bundle("genuine", "alert"), wait_s=0.1))
        until(lambda: m.check("custom", "target").decision is Decision.ALERT)
        assert all(entry.decision != "block" for entry in m.audit_trail())
