"""The console as a process of its own, as `vaultak up` starts it: all from the environment."""

from __future__ import annotations

import sys

from vaultak.config import Settings
from vaultak.errors import ConfigurationError
from vaultak_devstack.files import write_private
from vaultak_devstack.supervised import EXIT_CONFIGURATION
from vaultak_streams.console.entrance import address, address_path, bind
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.console.server import serve
from vaultak_streams.logs import configure_logs


def main() -> int:
    """Serve until SIGTERM; 2 where the configuration does not allow it."""
    configure_logs()
    try:
        settings, options = Settings.from_env(), ConsoleOptions.from_env()
        if not settings.clickhouse_dsn:
            raise ConfigurationError("VAULTAK_CLICKHOUSE_DSN: not set; the console reads the audit store")
        listener = bind(options)
        write_private(address_path(settings.data_dir), address(listener).encode())
        serve(settings, settings.clickhouse_dsn, options, listener)
    except ConfigurationError as e:
        sys.stderr.write(f"vaultak console: {e}\n")
        return EXIT_CONFIGURATION
    return 0


if __name__ == "__main__":
    sys.exit(main())
