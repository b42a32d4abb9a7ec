"""What can go wrong when a machine is asked to run the stack. Every message is one line: what, where, what to do.

VaultakError
└── DevstackError
    ├── PortInUseError          another program listens where a part of the stack should
    ├── StoreLockedError        another process holds the data directory
    ├── StoreDamagedError       the store cannot be opened
    ├── UnavailableError        something that has to be installed is not (binary, JVM, jars, engine)
    └── StartTimeoutError       started, but did not answer in time
"""

from __future__ import annotations

from vaultak.errors import VaultakError


class DevstackError(VaultakError):
    """A part of the local stack that cannot run."""


class PortInUseError(DevstackError):
    """Another program listens on the port."""


class StoreLockedError(DevstackError):
    """Another process works on the same data directory."""


class StoreDamagedError(DevstackError):
    """The store on disk cannot be opened."""


class UnavailableError(DevstackError):
    """Something that has to be installed is missing or too old."""


class StartTimeoutError(DevstackError):
    """The process runs but does not answer."""
