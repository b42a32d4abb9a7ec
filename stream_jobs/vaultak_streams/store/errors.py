"""What can go wrong with the store, one line each, never with the password in it.

VaultakError
└── StoreError
    ├── StoreUnavailableError    does not answer: worth trying again
    ├── StoreRejectedError       answered, and refused: trying the same again is no use
    └── MigrationError           the schema is not what this version needs
"""

from __future__ import annotations

from vaultak.errors import VaultakError


class StoreError(VaultakError):
    """The store cannot do what was asked."""


class StoreUnavailableError(StoreError):
    """The store does not answer."""


class StoreRejectedError(StoreError):
    """The store refused a statement or a row."""


class MigrationError(StoreError):
    """The schema is not what this version needs."""
