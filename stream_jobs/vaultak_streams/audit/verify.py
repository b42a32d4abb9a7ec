"""Is the audit trail complete and untouched? Everything that says no, with what it means."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vaultak.control.signatures import TrustStore
from vaultak_streams.audit import retold
from vaultak_streams.audit.actions import Bounds, compare
from vaultak_streams.audit.anchor_file import Line, read_anchors
from vaultak_streams.audit.anchored import Anchored, ChainName, disagreements, vanished, weigh
from vaultak_streams.audit.chains import LONG_AGO, AgentRange, Chain, agent_ranges, walk
from vaultak_streams.audit.confirm import confirmed
from vaultak_streams.audit.findings import Finding, Report, What
from vaultak_streams.audit.retention import kept_since
from vaultak_streams.audit.seals import Checked, changed, load_key
from vaultak_streams.store.client import Store

LISTED_PER_CHAIN = 100
LISTED = 10_000
"""Findings that are listed, of one chain and of all; the others are counted."""


def verify(
    store: Store,
    *,
    agent_id: str = "",
    since: dt.datetime | None = None,
    chains_only: bool = False,
    data_dir: Path | None = None,
    published: Sequence[Line] = (),
) -> Report:
    """Everything stored since then, of this agent or of all.

    `chains_only`: the messages, not the rows made of them. `data_dir`: where the sink's anchors, the trusted keys and
    the audit key are; without it a chain whose end was cut off looks complete, and verdicts are not checked.
    `published`: further anchors, from the topic.

    Reads only; the viewer's rights suffice. Memory is bounded by `chains.GROUP_ROWS`, whatever the size of the store.
    """
    started = time.monotonic()
    report = Report()
    now = dt.datetime.now(dt.UTC)
    since = since or LONG_AGO
    bounds = Bounds(since, kept_since(store, now), now)
    _count(store, report, agent_id, since)
    anchored = _anchored(data_dir, published, bounds, agent_id)
    report.anchored_chains = len(anchored.chains)
    note(report, anchored.flaws)
    key = load_key(data_dir) if data_dir is not None and not chains_only else None
    checked = Checked()
    seen: set[ChainName] = set()
    for agents in agent_ranges(store, agent_id, since):
        stored: dict[ChainName, Chain] = {}
        for chain in walk(store, agents, since):
            report.chains += 1
            report.events += chain.events
            stored[chain.agent_id, chain.instance] = chain
            note(report, _chain_findings(store, chain, bounds))
        note(report, disagreements(store, agents, stored, anchored), LISTED)
        seen |= stored.keys() & anchored.chains.keys()
        if not chains_only:
            _compare_rows(store, report, agents, bounds)
        if key is not None:
            note(report, changed(store, agents, since, key, checked), LISTED)
    report.verdicts = checked.verdicts if key is not None else None
    note(report, vanished(seen, anchored), LISTED)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def note(report: Report, findings: Iterable[Finding], limit: int = LISTED_PER_CHAIN) -> None:
    """Add findings to the report, the first `limit` of them; count the others."""
    for number, finding in enumerate(findings):
        if number < limit and len(report.findings) < LISTED:
            report.findings.append(finding)
        else:
            report.left_off += 1


def _anchored(data_dir: Path | None, published: Sequence[Line], bounds: Bounds, agent_id: str) -> Anchored:
    if data_dir is None:
        return Anchored()
    trusted = TrustStore(data_dir / "keys").keys
    lines = itertools.chain(read_anchors(data_dir), published)
    return weigh(lines, trusted, after=max(bounds.since, bounds.kept), agent_id=agent_id)


def _compare_rows(store: Store, report: Report, agents: AgentRange, bounds: Bounds) -> None:
    total, suspects, more = compare(store, agents, bounds)
    report.actions += total
    report.left_off += more
    note(report, retold.confirmed(store, suspects), LISTED)


def _chain_findings(store: Store, chain: Chain, bounds: Bounds) -> Iterator[Finding]:
    if chain.first > 0 and bounds.since == LONG_AGO and bounds.kept == LONG_AGO:
        yield Finding(
            What.BEGINNING_MISSING,
            chain.agent_id,
            instance=chain.instance,
            seq=chain.first,
            detail=f"the first event stored is number {chain.first}",
        )
    if chain.flagged:
        yield from confirmed(store, chain)


_COUNTS = """
SELECT countIf(isNull(seq) AND kind NOT IN ('undecodable', 'unauthenticated')) AS unchained,
  countIf(kind IN ('undecodable', 'unauthenticated')) AS undecodable
FROM events_log
WHERE ({agent:String} = '' OR agent_id = {agent:String}) AND ingested_at >= {since:DateTime64(6, 'UTC')}
"""


def _count(store: Store, report: Report, agent_id: str, since: dt.datetime) -> None:
    row = store.query(_COUNTS, {"agent": agent_id, "since": since}).rows[0]
    report.unchained, report.undecodable = int(row[0]), int(row[1])
