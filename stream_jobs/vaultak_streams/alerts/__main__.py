"""`python -m vaultak_streams.alerts`: the alerts as a process, until SIGTERM or SIGINT; all from the environment."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence

from vaultak.config import Settings
from vaultak.errors import ConfigurationError
from vaultak_streams.alerts.destination import Destination, destinations
from vaultak_streams.alerts.options import AlertOptions
from vaultak_streams.alerts.service import Alerts
from vaultak_streams.logs import configure_logs
from vaultak_streams.metrics.alerts import families
from vaultak_streams.metrics.attached import attach
from vaultak_streams.metrics.endpoint import Health


def run_alerts(settings: Settings, options: AlertOptions) -> None:
    """Tell of incidents until a signal. Raises `ConfigurationError` before anything is started."""
    if not options.wanted:
        raise ConfigurationError("VAULTAK_ALERT_URLS: not set; say where alerts go, see docs/alerts.md")
    asyncio.run(_serve(settings, options, destinations(options)))


async def _serve(settings: Settings, options: AlertOptions, found: Sequence[Destination]) -> None:
    alerts = Alerts(settings, options, found)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, alerts.stop)
    with attach("alerts", settings, lambda: families(alerts.status), Health(alerts.not_ready, alerts.silent_s)):
        await alerts.run()


def main() -> int:
    configure_logs()
    try:
        run_alerts(Settings.from_env(), AlertOptions.from_env())
    except ConfigurationError as e:
        sys.stderr.write(f"vaultak alerts: {e}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
