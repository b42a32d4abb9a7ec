"""The gateway as a process of its own, as `vaultak up` starts it: all from the environment."""

from __future__ import annotations

import sys

from vaultak.config import Settings
from vaultak.errors import ConfigurationError, PolicyError
from vaultak_devstack.files import write_private
from vaultak_devstack.supervised import EXIT_CONFIGURATION
from vaultak_streams.console.entrance import address
from vaultak_streams.gateway.options import GatewayOptions, address_path
from vaultak_streams.gateway.server import bind, serve
from vaultak_streams.logs import configure_logs
from vaultak_streams.policy_files import load_policy


def main() -> int:
    """Serve until SIGTERM; 2 where the configuration does not allow it."""
    configure_logs()
    try:
        settings, options = Settings.from_env(), GatewayOptions.from_env()
        policy, listener = load_policy(settings.policy), bind(options)
        write_private(address_path(settings.data_dir), address(listener).encode())
        serve(settings, options, policy, listener)
    except (ConfigurationError, PolicyError) as e:
        sys.stderr.write(f"vaultak gateway: {e}\n")
        return EXIT_CONFIGURATION
    return 0


if __name__ == "__main__":
    sys.exit(main())
