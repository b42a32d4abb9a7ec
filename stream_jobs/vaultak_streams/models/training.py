"""`vaultak model train`: a model of what agents did lately, kept as a version. Nothing that judges is touched."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from vaultak.wire import format_ts
from vaultak_models.drift import FeatureDrift, drift
from vaultak_models.model import RiskModel
from vaultak_models.profile import AgentProfile
from vaultak_models.registry import ModelRecord, Registry, Window
from vaultak_models.training import Gathering, TooLittleError, fit_model
from vaultak_streams.models.sources import from_files, from_store
from vaultak_streams.pipeline.roster import Roster
from vaultak_streams.store.client import Store


def train(
    registry: Registry, *, files: Sequence[Path] = (), store: Store | None = None, since: str | None = None
) -> ModelRecord:
    """Train on recordings, or on the store since then, with the model in force as the anchor that bounds it.

    Raises `TooLittleError`, `RegistryError`, `RecordingError`, and what the store raises.
    """
    gathering, source, unreadable = _gathered(registry, files, store, since)
    rows, left_out = gathering.rows()
    # Bounded by the shipped model, always: however often one trains, nothing comes to look ten times as ordinary.
    fitted = fit_model(rows, left_out, RiskModel.load())
    fitted = msgspec.structs.replace(fitted, metrics={**fitted.metrics, "unreadable": float(unreadable)})
    counters = gathering.counters
    window = Window(
        source=source[:500],
        since=_text(gathering.first_us),
        until=_text(gathering.last_us),
        events=counters["events"],
        agents=gathering.agents,
        bad=counters["bad"],
    )
    return registry.add(fitted, window, trained_at=format_ts(time.time()))


def drift_since(
    registry: Registry,
    version: str,
    *,
    files: Sequence[Path] = (),
    store: Store | None = None,
    since: str | None = None,
) -> list[FeatureDrift]:
    """How far what agents do now is from what a version was trained on, by feature, the farthest first.

    Raises `TooLittleError` where there is nothing to compare, and as `train`.
    """
    record = registry.record(version)
    gathering, _, _ = _gathered(registry, files, store, since)
    rows, _ = gathering.rows()
    if not rows:
        raise TooLittleError("no action of an agent with a baseline to compare with")
    return drift(record.reference, np.array([row.measures for row in rows]))


def _gathered(
    registry: Registry, files: Sequence[Path], store: Store | None, since: str | None
) -> tuple[Gathering, str, int]:
    """What was gathered, from where, and how many lines or rows were no events."""
    profiles = Roster(AgentProfile.from_bytes)  # small but for the agents that are at work
    gathering = Gathering(RiskModel.load(registry.judging()), profiles)
    if store is not None:
        counted = from_store(gathering, store, since)
        return gathering, f"the store {store.database}" + (f", last {since}" if since else ""), counted["unreadable"]
    counted = from_files(gathering, files)
    return gathering, ", ".join(path.name for path in files), counted["unreadable"]


def _text(ts_us: int) -> str:
    return dt.datetime.fromtimestamp(ts_us / 1e6, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
