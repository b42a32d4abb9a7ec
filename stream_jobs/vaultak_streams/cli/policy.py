"""`vaultak policy`: check rule files, run the tests that they carry, try them on what was done, push them."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vaultak_devstack.keys import policy_signer
from vaultak_streams.cli import backtest
from vaultak_streams.cli.connections import current_settings
from vaultak_streams.policy import RuleSource, parse_rules, try_rules
from vaultak_streams.policy import push as pushing
from vaultak_streams.policy.init import starting_policy
from vaultak_streams.policy.lint import lint_texts
from vaultak_streams.rule_files import is_bundle, load_rules, read_rules

app = typer.Typer(help="Rules as code: check, test and compile them.", no_args_is_help=True)

Files = Annotated[list[Path], typer.Argument(help="Rule files (YAML).")]


Json = Annotated[bool, typer.Option("--json", help="One JSON array of findings, for CI and editors.")]


@app.command()
def lint(files: Files, json: Json = False) -> None:
    """Say what is wrong with rule files as `file:line`; exit code 1 where a rule is bad or can do nothing."""
    findings = lint_texts({str(path): read_rules(path) for path in files})
    if json:
        typer.echo(msgspec.json.encode(findings).decode())
    else:
        for finding in findings:
            typer.echo(("" if finding.error else "warning: ") + str(finding))
    raise typer.Exit(1 if any(finding.error for finding in findings) else 0)


Packs = Annotated[list[str] | None, typer.Option("--pack", help="A pack by its name; all where none is given.")]


@app.command()
def init(pack: Packs = None) -> None:
    """Print a policy to start from: shipped rules with their reasons and tests."""
    typer.echo(starting_policy(pack or ()), nl=False)


@app.command()
def test(files: Files) -> None:
    """Run the tests that rules carry; exit code 1 where one fails."""
    sources = [source for path in files for source in _read(path)]
    failures = try_rules(sources)
    for failure in failures:
        wanted = "to match" if failure.wanted else "not to match"
        typer.echo(f"{failure.rule}: `{failure.test}` is expected {wanted} {'; '.join(failure.errors)}".rstrip())
    typer.echo(f"{sum(len(source.tests) for source in sources)} tests, {len(failures)} failed")
    raise typer.Exit(1 if failures else 0)


@app.command(name="compile")
def compile_files(files: Files, output: Annotated[Path, typer.Option(help="The bundle to write (JSON).")]) -> None:
    """Make one bundle of rule files, for `Vaultak(rules=...)` and `VAULTAK_POLICY`."""
    bundle = load_rules(files)
    output.write_bytes(msgspec.json.encode(bundle))
    typer.echo(f"{len(bundle.rules)} rules, version {bundle.version}")


Wait = Annotated[float, typer.Option(help="seconds to wait for the agents' answers", min=0.1, max=60)]


@app.command()
def push(
    files: Files,
    canary: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE: only for agents with this label (repeatable)")
    ] = None,
    reason: Annotated[str, typer.Option(help="why; kept with the policy")] = "",
    wait: Wait = 2.0,
    json: Json = False,
) -> None:
    """Sign the rules and push them: every agent and worker judges by them within seconds, no limit is lifted."""
    labels = dict(_label(text) for text in canary or ())
    bundle = load_rules(files)
    findings = lint_texts({str(path): read_rules(path) for path in files if not is_bundle(path)})
    if errors := [finding for finding in findings if finding.error]:
        typer.echo("\n".join(map(str, errors)), err=True)
        raise typer.Exit(1)
    settings = current_settings()
    done = asyncio.run(
        pushing.push(
            settings,
            policy_signer(settings.data_dir),
            bundle,
            canary=labels,
            reason=reason,
            issued_by=getpass.getuser(),
            wait_s=wait,
        )
    )
    _report(done, json)


@app.command(name="rollback")
def roll_back(wait: Wait = 2.0, json: Json = False) -> None:
    """Push once more the policy that counted before the last push."""
    settings = current_settings()
    sign = policy_signer(settings.data_dir)
    _report(asyncio.run(pushing.roll_back(settings, sign, issued_by=getpass.getuser(), wait_s=wait)), json)


def _report(done: pushing.Pushed, json: bool) -> None:
    record = done.record
    if json:
        acks = [{**msgspec.to_builtins(ack), "after_s": round(after_s, 3)} for ack, after_s in done.acks]
        members = {"policy_id": record.policy_id, "version": record.version, "canary": record.canary, "acks": acks}
        typer.echo(msgspec.json.encode(members).decode())
        return
    whom = ", ".join(f"{name}={value}" for name, value in record.canary.items())
    typer.echo(f"pushed {record.version}" + (f" to agents with {whom}" if whom else " to every agent and worker"))
    if done.acks:
        instances = {(ack.agent_id, ack.instance) for ack, _ in done.acks}
        slowest = max(after_s for _, after_s in done.acks)
        typer.echo(f"{len(instances)} agents judge by it, the last after {slowest:.2f} s")
    else:
        typer.echo("no running agent has answered; those that start later take it over")


def _label(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise typer.BadParameter(f"`{text}` is not NAME=VALUE")
    return name, value


def _read(path: Path) -> list[RuleSource]:
    return parse_rules(read_rules(path), str(path))


app.command()(backtest.backtest)
app.command()(backtest.diff)
