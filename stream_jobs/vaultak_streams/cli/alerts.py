"""`vaultak alerts`: tell people of incidents, try whether that works, look at how it goes."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
import typer

from vaultak.errors import ConfigurationError
from vaultak.wire import format_ts
from vaultak.wire.codec import UNREADABLE
from vaultak_streams.alerts.options import AlertOptions
from vaultak_streams.alerts.service import AlertStatus, alert_status_path
from vaultak_streams.alerts.wording import Message
from vaultak_streams.cli.connections import current_settings
from vaultak_streams.cli.output import print_json, print_table, say, warn
from vaultak_streams.health import STATUS_STALE_S

app = typer.Typer(help="Alerts about incidents: Slack, mail, PagerDuty, web hooks ...", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command()
def run() -> None:
    """Tell of incidents until Ctrl-C; `vaultak up` does this by itself where VAULTAK_ALERT_URLS is set."""
    from vaultak_streams.alerts.__main__ import run_alerts
    from vaultak_streams.logs import configure_logs

    configure_logs()
    run_alerts(current_settings(), AlertOptions.from_env())


@app.command("test")
def trial(as_json: Json = False) -> None:
    """Send a trial message to every destination; exit 1 if one does not take it."""
    from vaultak_streams.alerts.destination import DeliveryError, destinations

    options = AlertOptions.from_env()
    if not options.wanted:
        raise ConfigurationError("VAULTAK_ALERT_URLS: not set; say where alerts go, see docs/alerts.md")
    message = Message(
        title="Vaultak: a trial message", body=f"Alerts arrive here. Sent at {format_ts(time.time())}.", level="info"
    )
    results: list[dict[str, Any]] = []
    for destination in destinations(options):
        try:
            destination.deliver(message)
            results.append({"destination": destination.name, "delivered": True, "error": ""})
        except DeliveryError as e:
            results.append({"destination": destination.name, "delivered": False, "error": str(e)})
    if as_json:
        print_json(results)
    else:
        rows = [(r["destination"], "ok" if r["delivered"] else "failed", r["error"]) for r in results]
        print_table(["destination", "result", "error"], rows)
    if not all(result["delivered"] for result in results):
        raise typer.Exit(1)


@app.command()
def status(as_json: Json = False) -> None:
    """What was delivered, is tried again or was given up, by destination; exit 1 if alerts do not run here."""
    path = alert_status_path(current_settings())
    try:
        found = msgspec.json.decode(path.read_bytes(), type=AlertStatus)
        silent_s = time.time() - path.stat().st_mtime
    except (OSError, *UNREADABLE):
        warn("vaultak: no alerts have run here; set VAULTAK_ALERT_URLS and `vaultak up`, or `vaultak alerts run`")
        raise typer.Exit(1) from None
    running = found.state == "running" and silent_s <= STATUS_STALE_S
    if as_json:
        print_json({**msgspec.to_builtins(found), "silent_s": round(silent_s, 1)})
    else:
        say(f"{found.state if silent_s <= STATUS_STALE_S else f'silent for {silent_s:.0f} s'}; {found.notices} to tell")
        columns = ["destination", "delivered", "waiting", "retried", "failed", "dropped", "last error"]
        rows = [
            (one.destination, one.delivered, one.waiting, one.retried, one.failed, one.dropped, one.last_error)
            for one in found.destinations
        ]
        print_table(columns, rows)
    if not running:
        raise typer.Exit(1)
