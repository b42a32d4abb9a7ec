"""`vaultak policy backtest` and `vaultak policy diff`: what other rules would change, before they are pushed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from vaultak.policy.rules import Bundle
from vaultak_streams.backtest import Report, backtest_recording, backtest_store, remember
from vaultak_streams.backtest.report import Change, Example
from vaultak_streams.cli.connections import current_settings, open_store
from vaultak_streams.cli.output import SEVERITY_STYLE, print_table, safe, say, warn
from vaultak_streams.policy.diff import RuleChange, diff_bundles
from vaultak_streams.policy_files import load_policy
from vaultak_streams.rule_files import load_rules

_SHOWN = 12
"""Kinds of changes shown in full; `--json` has all."""

Rules = Annotated[list[Path], typer.Option("--policy", exists=True, dir_okay=False, help="rule files, or a bundle")]
Json = Annotated[bool, typer.Option("--json", help="the whole report as JSON")]


def backtest(
    policy: Rules,
    since: Annotated[str | None, typer.Option(help="stored actions since: `7d`, `12h` ago, or a time")] = None,
    until: Annotated[str | None, typer.Option(help="and until")] = None,
    input_: Annotated[
        Path | None, typer.Option("--input", exists=True, dir_okay=False, help="recorded events instead of the store")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="with --input: events that teach the baselines")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="with --input: the policy file in force")
    ] = None,
    max_changed: Annotated[
        float, typer.Option(help="percent of actions whose decision may change before the exit code is 1", min=0)
    ] = 0.0,
    json: Json = False,
) -> None:
    """Try rules on what agents really did: which decisions would change, by agent and rule, with examples.

    Exit code 1 when more than `--max-changed` percent of the decisions change, when a rule could not be evaluated on
    an action, or when an action that a person approved would be stopped.
    """
    if input_ is None and (history is not None or against is not None):
        raise typer.BadParameter("--history and --against go with --input")
    if input_ is not None and (since or until):
        raise typer.BadParameter("--since and --until are of the store, not of --input")
    bundle = load_rules(policy)
    if input_ is not None:
        report = backtest_recording(input_, bundle, against=load_policy(against), history=history)
    else:
        with open_store() as store:
            report = backtest_store(store, bundle, since=since, until=until)
    remember(current_settings().data_dir, report)
    if json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        _print(report, bundle)
    raise typer.Exit(0 if report.passes(max_changed) else 1)


def diff(
    old: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="rule file or bundle")],
    new: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="rule file or bundle")],
    json: Json = False,
) -> None:
    """Say what differs between two sets of rules; exit code 1 where anything does."""
    changes = diff_bundles(load_rules([old]), load_rules([new]))
    if json:
        typer.echo(msgspec.json.encode(changes).decode())
    else:
        for change in changes:
            _print_rule(change)
        say(f"{len(changes)} rules differ" if changes else "the rules are the same")
    raise typer.Exit(1 if changes else 0)


_MARKS = {"added": "[green]+", "removed": "[red]-", "changed": "[yellow]~"}


def _print_rule(change: RuleChange) -> None:
    say(f"{_MARKS[change.kind]}[/] [bold]{escape(safe(change.rule))}[/]  {escape(safe(change.title))}")
    for member in change.members:
        say(f"    {member.member}")
        say(f"      [red]-[/] {escape(safe(member.before))}")
        say(f"      [green]+[/] {escape(safe(member.after))}")


def _print(report: Report, bundle: Bundle) -> None:
    say(
        f"[bold]{_count(report.rules_tried, 'rule')}[/] (version {escape(safe(bundle.version))}) on "
        f"[bold]{_count(report.actions, 'action')}[/] of {escape(safe(report.source))}, in {report.elapsed_s:.1f} s"
    )
    say(_summary(report))
    matched = [rule for rule in report.rules if rule.matched or rule.failed]
    if matched:
        say()
        print_table(
            ["rule", "asks for", "actions", "agents", "stopped by it alone", "not evaluated"],
            [
                (
                    r.id,
                    r.enforce if r.mode == "enforce" else f"{r.enforce} (shadow)",
                    r.matched,
                    r.agents,
                    r.alone,
                    r.failed,
                )
                for r in matched
            ],
        )
    if silent := len(report.rules) - len(matched):
        say(f"[dim]{_count(silent, 'rule')} matched nothing[/]")
    for rule in report.rules:
        if rule.unknown:
            warn(f"rule `{safe(rule.id)}` was tried without {', '.join(rule.unknown)}: not stored; try it with --input")
    for change in report.changes[:_SHOWN]:
        _print_change(change)
    if (more := len(report.changes) - _SHOWN) > 0:
        say(f"\n[dim]{_count(more, 'further kind')} of changes: see --json[/]")


def _summary(report: Report) -> str:
    if not report.changed:
        lines = ["no decision would change"]
    else:
        share = 100 * report.changed / max(report.actions, 1)
        lines = [
            f"[bold]{_count(report.changed, 'decision')}[/] ({share:.2g} %) would change:"
            f" [red]{_count(report.newly_stopped, 'action')}[/] more would be stopped,"
            f" [green]{report.newly_let_through:,}[/] would no longer be"
        ]
    if report.answers is not None and (report.answers.approved or report.answers.denied):
        a = report.answers
        lines.append(
            f"of {_count(a.approved, 'action')} that people approved, {a.approved_stopped:,} would be stopped"
            f" (likely false positives); of {a.denied:,} that they denied, {a.denied_let_through:,} would run"
        )
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _print_change(change: Change) -> None:
    before, after = (f"[{SEVERITY_STYLE[d]}]{d}[/]" for d in (change.before, change.after))
    why = ", ".join(map(safe, change.rules)) or "no rule any more"
    say(f"\n{before} -> {after}  [bold]{escape(safe(change.agent_id))}[/]  {change.count:,} x  ({escape(why)})")
    for example in change.examples:
        say(f"    {escape(_line(example))}")


def _line(example: Example) -> str:
    payload = example.payload if len(example.payload) <= 100 else example.payload[:99] + "…"
    return safe(f"{example.ts}  {example.action_type}  {example.resource}  {payload}")
