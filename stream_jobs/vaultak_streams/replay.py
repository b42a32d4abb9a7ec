"""`vaultak replay`: the worker's step over recorded events, without a broker.

For the same files, policy and model the output is the same, byte for byte, on every machine: `scored_ts` is the
event's own time, and nothing else in a verdict comes from a clock.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import msgspec

from vaultak.policy import PolicySettings
from vaultak.wire import encode
from vaultak_streams.judging import AgentProfile, load_profile, make_pipeline
from vaultak_streams.pipeline.shard import Shard
from vaultak_streams.recordings import read_lines
from vaultak_streams.records import Record

BATCH_RECORDS = 1000

DRAIN_EVERY_BATCHES = 20
"""A recording needs no changelog; draining now and then keeps the shard's bookkeeping small."""

TOPIC = "recording"


class ReplaySummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay found. Counts are of the input alone; the history's own are in `history_*`."""

    events: int
    verdicts: int
    decisions: dict[str, int]
    dead_letters: dict[str, int]
    """By reason: lines that are not events, or that could not be judged."""
    duplicates: int
    commands: dict[str, int]
    """What the worker would have ordered."""
    incidents: int
    history_events: int
    history_dead_letters: dict[str, int]
    model_version: str
    policy_version: str
    elapsed_s: float
    events_per_s: float
    """History and input together."""


def replay(
    history: Path | None,
    input: Path,  # noqa: A002 - as the command's option is called
    output: Path,
    policy: PolicySettings | None = None,
    model: Path | None = None,
) -> ReplaySummary:
    """Judge `input` after `history` has taught the baselines; one verdict a line into `output`, in order.

    The files are JSON lines, gzipped or not. Lines that are not events are counted, never fatal. Memory is bounded
    by the number of agents. `output` appears complete or not at all. Raises `RecordingError` for a file that cannot
    be read, `OSError` when the output cannot be written.
    """
    pipeline = make_pipeline(policy or PolicySettings(), model)
    shard = Shard(0, load_profile)
    past: Counter[str] = Counter()
    present: Counter[str] = Counter()
    incidents = 0
    started = time.perf_counter()
    offset = 0
    if history is not None:
        for records in batches(read_lines(history), offset):
            past += pipeline.process(records, shard, None).counters
            offset = _settle(shard, records)
    with atomic_output(output) as out:
        for records in batches(read_lines(input), offset):
            result = pipeline.process(records, shard, None)
            out.writelines(line for verdict in result.verdicts for line in (encode(verdict), b"\n"))
            present += result.counters
            incidents += len(result.incidents)
            offset = _settle(shard, records)
    elapsed_s = time.perf_counter() - started
    return ReplaySummary(
        events=present["records"],
        verdicts=present["actions"],
        decisions=_under(present, "decisions."),
        dead_letters=_under(present, "dead_letters."),
        duplicates=present["duplicates"],
        commands=_under(present, "commands."),
        incidents=incidents,
        history_events=past["records"],
        history_dead_letters=_under(past, "dead_letters."),
        model_version=pipeline.model_version,
        policy_version=pipeline.policy_version,
        elapsed_s=elapsed_s,
        events_per_s=(past["records"] + present["records"]) / max(elapsed_s, 1e-9),
    )


def batches(lines: Iterable[bytes], offset: int) -> Iterator[list[Record]]:
    """The lines as records of one partition, from that offset on."""
    records = (Record(TOPIC, 0, offset + n, None, line, 0) for n, line in enumerate(lines))
    while batch := list(islice(records, BATCH_RECORDS)):
        yield batch


def _settle(shard: Shard[AgentProfile], records: list[Record]) -> int:
    """Keep the shard within bounds; returns the offset that comes next."""
    shard.drain()
    return records[-1].offset + 1


def _under(counters: Counter[str], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in sorted(counters.items()) if name.startswith(prefix) and n}


@contextlib.contextmanager
def atomic_output(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A file that appears under its name once it is complete; after an error nothing is left of it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
