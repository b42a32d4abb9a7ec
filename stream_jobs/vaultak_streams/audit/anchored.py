"""Anchors as a verification uses them: how far each chain is known to have come, and what disagrees with that."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from vaultak.wire import Anchor, Head, parse_ts
from vaultak_streams.audit.anchor_file import Line
from vaultak_streams.audit.anchors import objection
from vaultak_streams.audit.chains import AgentRange, Chain
from vaultak_streams.audit.findings import Finding, What
from vaultak_streams.store.client import Store

SLACK = dt.timedelta(hours=1)
"""An anchor is younger than the events it names, by a minute; by more when its sink was held up."""

ChainName = tuple[str, str]
"""Agent and instance."""


class Known(msgspec.Struct):
    """The earliest and the furthest anchored event of a chain."""

    first: Head
    last: Head


class Anchored(msgspec.Struct):
    """What the files of anchors say, and what is wrong with them."""

    chains: dict[ChainName, Known] = {}
    flaws: list[Finding] = []


def weigh(lines: Iterable[Line], trusted: Mapping[str, bytes], *, after: dt.datetime, agent_id: str = "") -> Anchored:
    """Anchors written `after` then, of one agent or of all; only those that a trusted key signed count."""
    anchored = Anchored()
    for line in lines:
        doubt = objection(line.anchor, trusted) if line.anchor else ""
        if flaw := doubt or line.flaw:
            detail = f"`{line.source}` line {line.number + 1}: {flaw}"
            anchored.flaws.append(Finding(What.ANCHOR_BROKEN, detail=detail))
        if line.anchor and not doubt and _time(line.anchor) >= after + SLACK:
            _learn(anchored.chains, line.anchor.heads, agent_id)
    return anchored


def _time(anchor: Anchor) -> dt.datetime:
    try:
        return dt.datetime.fromtimestamp(parse_ts(anchor.ts), dt.UTC)
    except (ValueError, OverflowError, OSError):
        return dt.datetime.now(dt.UTC)


def _learn(chains: dict[ChainName, Known], heads: Iterable[Head], agent_id: str) -> None:
    for head in heads:
        if agent_id and head.agent_id != agent_id:
            continue
        name = head.agent_id, head.instance
        if (known := chains.get(name)) is None:
            chains[name] = Known(head, head)
        else:
            known.first = min(known.first, head, key=_seq)
            known.last = max(known.last, head, key=_seq)


def _seq(head: Head) -> int:
    return head.seq


def disagreements(
    store: Store, agents: AgentRange, stored: Mapping[ChainName, Chain], anchored: Anchored
) -> Iterator[Finding]:
    """What these agents' chains lack or say otherwise."""
    within: list[Head] = []
    for name, chain in stored.items():
        if (known := anchored.chains.get(name)) is None:
            continue
        if known.first.seq < chain.first:
            detail = f"number {known.first.seq} was anchored, the first stored is {chain.first}"
            yield _finding(What.BEGINNING_MISSING, known.first, detail)
        if known.last.seq > chain.last:
            detail = f"number {known.last.seq} was anchored, the last stored is {chain.last}"
            yield _finding(What.TAIL_CUT, known.last, detail)
        elif known.last.seq >= chain.first:
            within.append(known.last)
    yield from _rewritten(store, agents, within)


def vanished(stored: set[ChainName], anchored: Anchored) -> Iterator[Finding]:
    """Chains of which nothing is stored any more."""
    for name, known in anchored.chains.items():
        if name not in stored:
            yield _finding(What.TAIL_CUT, known.last, f"number {known.last.seq} was anchored, none is stored")


_HASHES = """
SELECT agent_id, instance, assumeNotNull(seq) AS number, groupUniqArray(JSONExtractString(value, 'hash')) AS hashes
FROM events_log
WHERE agent_id >= {first:String} AND agent_id <= {last:String}
  AND (agent_id, instance, assumeNotNull(seq)) IN
      (SELECT arrayJoin(arrayZip({agents:Array(String)}, {instances:Array(String)}, {numbers:Array(UInt64)})))
GROUP BY agent_id, instance, number
"""


def _rewritten(store: Store, agents: AgentRange, heads: list[Head]) -> Iterator[Finding]:
    if not heads:
        return
    parameters = {
        "first": agents.first,
        "last": agents.last,
        "agents": [head.agent_id for head in heads],
        "instances": [head.instance for head in heads],
        "numbers": [head.seq for head in heads],
    }
    stored = {(row[0], row[1], int(row[2])): row[3] for row in store.query(_HASHES, parameters).rows}
    for head in heads:
        hashes = stored.get((head.agent_id, head.instance, head.seq), [])
        if hashes and head.hash not in hashes:  # none: a gap, which the chain shows
            detail = f"{head.hash[:12]} was anchored, {hashes[0][:12]} is stored"
            yield _finding(What.REWRITTEN, head, detail)


def _finding(what: What, head: Head, detail: str) -> Finding:
    return Finding(what, head.agent_id, instance=head.instance, seq=head.seq, detail=detail)
