"""The `vaultak` command, assembled.

Every command has `--help`, `--json` where it prints data, and says one clear line when something is wrong:
exit code 2 for a wrong call or configuration, 1 for what failed on the way.
"""

from __future__ import annotations

import logging
import sys

import typer

from vaultak.errors import ConfigurationError, PolicyError, VaultakError
from vaultak_streams.cli import (
    acls,
    alerts,
    audit,
    console,
    demo,
    doctor,
    gateway,
    judge,
    metrics,
    model,
    operate,
    policy,
    run,
    up,
    work,
)
from vaultak_streams.cli.output import warn

app = typer.Typer(
    name="vaultak",
    help="Runtime security for AI agents: watch, score, stop and undo what they do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for group in (up, demo, work, run, judge, operate, console, metrics, acls, doctor):
    group.register(app)
app.add_typer(alerts.app, name="alerts")
app.add_typer(audit.app, name="audit")
app.add_typer(gateway.app, name="gateway")
app.add_typer(model.app, name="model")
app.add_typer(policy.app, name="policy")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it has to say we say, in one line
    try:
        result = app(args=arguments, standalone_mode=False, prog_name="vaultak")
    except typer.Exit as e:
        return e.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except typer.BadParameter as e:
        warn(f"vaultak: {e.format_message()}")
        return 2
    except (ConfigurationError, PolicyError) as e:
        warn(f"vaultak: {e}")
        return 2
    except VaultakError as e:
        warn(f"vaultak: {e}")
        return 1
    except Exception as e:
        # click's own usage errors carry their exit code; anything else is a bug and shows its trace
        if (code := getattr(e, "exit_code", None)) is None:
            raise
        warn(f"vaultak: {getattr(e, 'format_message', e.__str__)()}")
        return int(code)
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
