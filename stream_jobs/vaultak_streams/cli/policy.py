"""`vaultak policy`: check rule files, run the tests that they carry, make a bundle of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vaultak.errors import PolicyError
from vaultak.policy.rules import CompiledRules
from vaultak_streams.policy import RuleSource, parse_rules, try_rules
from vaultak_streams.policy.source import bundle_of

app = typer.Typer(help="Rules as code: check, test and compile them.", no_args_is_help=True)

Files = Annotated[list[Path], typer.Argument(help="Rule files (YAML).")]


@app.command()
def lint(files: Files) -> None:
    """Say what is wrong with rule files, one line each; exit code 1 where something is."""
    problems = []
    seen: dict[str, str] = {}
    for path in files:
        try:
            sources = _read(path)
        except PolicyError as e:
            problems.append(str(e))
            continue
        for source in sources:
            here = f"{path}:{source.line}"
            if (there := seen.setdefault(source.rule.id, here)) != here:
                problems.append(f"{here}: id `{source.rule.id}` is taken by {there}; give each rule its own")
    for problem in problems:
        typer.echo(problem)
    raise typer.Exit(1 if problems else 0)


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
    """Make one bundle of rule files, for `vaultak.policy.rules.load_bundle`."""
    rules = [source.rule for path in files for source in _read(path)]
    version = "r-" + hashlib.sha256(msgspec.json.encode(rules, order="deterministic")).hexdigest()[:12]
    bundle = bundle_of(rules, version)
    CompiledRules(bundle)
    output.write_bytes(msgspec.json.encode(bundle))
    typer.echo(f"{len(rules)} rules, version {version}")


def _read(path: Path) -> list[RuleSource]:
    try:
        return parse_rules(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as e:
        raise PolicyError(f"cannot read `{path}`: {e}") from None
