"""`vaultak policy`: check rule files, run the tests that they carry, make a bundle of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vaultak.errors import PolicyError
from vaultak_streams.policy import RuleSource, bundle_from, parse_rules, try_rules
from vaultak_streams.policy.init import starting_policy
from vaultak_streams.policy.lint import lint_texts
from vaultak_streams.policy.source import MAX_SOURCE_BYTES

app = typer.Typer(help="Rules as code: check, test and compile them.", no_args_is_help=True)

Files = Annotated[list[Path], typer.Argument(help="Rule files (YAML).")]


Json = Annotated[bool, typer.Option("--json", help="One JSON array of findings, for CI and editors.")]


@app.command()
def lint(files: Files, json: Json = False) -> None:
    """Say what is wrong with rule files as `file:line`; exit code 1 where a rule is bad or can do nothing."""
    findings = lint_texts({str(path): _text(path) for path in files})
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
    bundle = bundle_from([(str(path), _text(path)) for path in files])
    output.write_bytes(msgspec.json.encode(bundle))
    typer.echo(f"{len(bundle.rules)} rules, version {bundle.version}")


def _read(path: Path) -> list[RuleSource]:
    return parse_rules(_text(path), str(path))


def _text(path: Path) -> str:
    """Raises `PolicyError`; reads no more than a rule file may hold, and a byte to see that there is more."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_SOURCE_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise PolicyError(f"cannot read `{path}`: {e}") from None
