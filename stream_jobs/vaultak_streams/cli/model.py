"""`vaultak model`: train, look at, promote and take back the models that judge behaviour."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vaultak.errors import ConfigurationError, VaultakError
from vaultak_devstack.keys import promotion_signer
from vaultak_models.drift import DRIFTED, NOTABLE, FeatureDrift
from vaultak_models.registry import ModelRecord, Refused, Registry
from vaultak_streams.cli.connections import current_settings, open_store
from vaultak_streams.cli.output import print_json, print_table, safe, say, warn
from vaultak_streams.models import registry_of
from vaultak_streams.models.comparison import Change, Comparison
from vaultak_streams.models.comparison import compare as compare_models
from vaultak_streams.models.promotions import publish
from vaultak_streams.models.training import drift_since
from vaultak_streams.models.training import train as train_model
from vaultak_streams.operate import BrokerUnavailableError
from vaultak_streams.policy_files import load_policy

app = typer.Typer(help="Models of behaviour: train, promote, take back.", no_args_is_help=True)

Models = Annotated[
    Path | None,
    typer.Option("--models", file_okay=False, help="the registry (default: `models` in the data directory)"),
]
Input = Annotated[
    list[Path] | None, typer.Option("--input", exists=True, dir_okay=False, help="recorded events; may be repeated")
]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Trained = Annotated[str, typer.Argument(help="as `vaultak model list` shows it")]
Local = Annotated[bool, typer.Option("--local", help="for the workers of this data directory alone")]
Version = Annotated[str, typer.Argument(help="as `vaultak model list` shows it; `shipped` is the package's")]


@app.command()
def train(
    input_: Input = None,
    since: Annotated[str, typer.Option(help="without --input, of the store: `14d` ago, or a time")] = "14d",
    models: Models = None,
    as_json: Json = False,
) -> None:
    """Train a model on what agents did, and keep it as a version. It judges nothing until it is promoted.

    What was judged bad or stopped does not train, nor does its session within the hour.
    """
    registry = _registry(models)
    if input_:
        record = train_model(registry, files=input_)
    else:
        with open_store() as store:
            record = train_model(registry, store=store, since=since)
    _show(record, as_json)


@app.command()
def drift(
    version: Trained,
    input_: Input = None,
    since: Annotated[str, typer.Option(help="without --input, of the store: `7d` ago, or a time")] = "7d",
    models: Models = None,
    as_json: Json = False,
) -> None:
    """How far what agents do now is from what a version was trained on; exits 1 where it no longer fits, 2 on an error.

    The population stability index of each feature: below 0.1 nothing has changed, above 0.25 it has.
    """
    try:
        found = _drift(_registry(models), version, input_, since)
    except VaultakError as e:
        raise ConfigurationError(str(e)) from None  # exit code 2: 1 is an answer
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        rows = [(one.feature, f"{one.index:.3f}", _reading(one.index)) for one in found]
        print_table(["feature", "index", "reads"], rows)
    raise typer.Exit(int(any(one.index > DRIFTED for one in found)))


@app.command()
def compare(
    before: Version,
    after: Version,
    input_: Input = None,
    since: Annotated[str, typer.Option(help="without --input, of the store: `7d` ago, or a time")] = "7d",
    policy: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="policy file")] = None,
    models: Models = None,
    as_json: Json = False,
) -> None:
    """Which decisions would be others if AFTER judged instead of BEFORE, by agent, with examples.

    Both judge the same recorded actions by the code that the worker runs, each with baselines of its own, which
    start empty. Nothing that judges is touched.
    """
    registry = _registry(models)
    rules = load_policy(policy or current_settings().policy)
    if input_:
        found = compare_models(registry, before, after, policy=rules, files=input_)
    else:
        with open_store() as store:
            found = compare_models(registry, before, after, policy=rules, store=store, since=since)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        _show_comparison(found)


def _show_comparison(found: Comparison) -> None:
    say(
        f"{found.actions:,} actions: {found.changed:,} decisions would be others, {found.stricter:,} of them stricter; "
        f"{found.risk_changed:,} risks, by {found.largest_difference:.4f} at most"
    )
    if found.unreadable:
        warn(f"{found.unreadable:,} lines or rows could not be judged")
    if found.changes:
        rows = [
            (safe(change.agent_id), change.before, change.after, f"{change.count:,}", _example(change))
            for change in found.changes
        ]
        print_table(["agent", found.before, found.after, "actions", "for example"], rows)
    if found.not_shown:
        warn(f"{found.not_shown:,} more of further kinds")


def _example(change: Change) -> str:
    one = change.examples[0]
    return safe(f"{one.action_id}: {one.risk_before:.2f} -> {one.risk_after:.2f}")


def _drift(registry: Registry, version: str, files: list[Path] | None, since: str) -> list[FeatureDrift]:
    if files:
        return drift_since(registry, version, files=files)
    with open_store() as store:
        return drift_since(registry, version, store=store, since=since)


def _reading(index: float) -> str:
    return "as before" if index < NOTABLE else "changed" if index > DRIFTED else "moved"


@app.command("list")
def list_(models: Models = None, as_json: Json = False) -> None:
    """All versions, the newest first, and which one judges."""
    registry = _registry(models)
    current, records = registry.current(), registry.records()
    if as_json:
        print_json({"judging": current.version, "versions": msgspec.to_builtins(records)})
        return
    rows = [_row(record, current.version) for record in records]
    rows.append(("shipped", _mark("shipped", current.version), "", "", "", "of the package"))
    print_table(["version", "judges", "trained_at", "events", "agents", "trained on"], rows)


@app.command()
def show(version: Trained, models: Models = None, as_json: Json = False) -> None:
    """What is known of a version: window, metrics, checksum."""
    _show(_registry(models).record(version), as_json)


@app.command()
def promote(version: Version, models: Models = None, local: Local = False) -> None:
    """Let a version judge: all workers of the deployment take it over within seconds, without a restart."""
    registry = _registry(models)
    current = registry.promote(version)
    say(f"{current.version} judges; before it {current.before[-1] if current.before else 'nothing else'}")
    _tell(registry, local)


@app.command()
def rollback(models: Models = None, local: Local = False) -> None:
    """Let the version judge that did before the last promotion, everywhere."""
    registry = _registry(models)
    say(f"{registry.roll_back().version} judges")
    _tell(registry, local)


def _tell(registry: Registry, local: bool) -> None:
    """Workers of this data directory see it by themselves; those elsewhere have to be told."""
    if local:
        return
    settings = current_settings()
    try:
        asyncio.run(publish(settings, promotion_signer(settings.data_dir), registry))
    except BrokerUnavailableError as e:
        warn(f"only the workers of this data directory know: {e}")


def _registry(directory: Path | None) -> Registry:
    return registry_of(current_settings(), directory)


def _row(record: ModelRecord | Refused, judging: str) -> tuple[str, ...]:
    if isinstance(record, Refused):
        return (record.version, _mark(record.version, judging), "", "", "", record.why)
    window = record.window
    told = f"{window.source}, {window.since} to {window.until}"
    marks = (record.version, _mark(record.version, judging), record.trained_at[:19])
    return (*marks, f"{window.events:,}", f"{window.agents:,}", told)


def _mark(version: str, judging: str) -> str:
    return "yes" if version == judging else ""


def _show(record: ModelRecord, as_json: bool) -> None:
    members = msgspec.to_builtins(record)
    if as_json:
        print_json(members)
        return
    window, metrics = members.pop("window"), members.pop("metrics")
    members.pop("reference")
    rows = [*members.items(), *window.items(), *metrics.items()]
    print_table(["what", "value"], [(name, str(value)) for name, value in rows])
