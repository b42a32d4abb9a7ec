"""`python -m vaultak_streams.sink`: the sink as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import sys

from vaultak.config import Settings
from vaultak.errors import ConfigurationError, VaultakError
from vaultak_streams.garbage import collect_rarely
from vaultak_streams.logs import configure_logs
from vaultak_streams.metrics.attached import attach
from vaultak_streams.metrics.endpoint import Health
from vaultak_streams.sink.sink import Sink

SWITCH_INTERVAL_S = 0.0005
"""The thread that inserts lets go of the interpreter often, for a moment each; the one that decodes holds on to it."""


async def serve(settings: Settings, dsn: str) -> None:
    sink = Sink(settings, dsn)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, sink.stop)
    with attach("sink", settings, lambda: sink.meter.families(sink.stats), Health(sink.not_ready, sink.silent_s)):
        await sink.run()


def main() -> int:
    configure_logs()
    try:
        settings = Settings.from_env()
        if not settings.clickhouse_dsn:
            raise ConfigurationError("VAULTAK_CLICKHOUSE_DSN: not set; name the server that takes the audit trail")
        collect_rarely()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        asyncio.run(serve(settings, settings.clickhouse_dsn))
    except ConfigurationError as e:
        sys.stderr.write(f"vaultak sink: {e}\n")
        return 2
    except VaultakError as e:
        sys.stderr.write(f"vaultak sink: {e}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
