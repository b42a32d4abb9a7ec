"""What the pages share: the store's reader, the settings, and how orders are sent."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from vaultak.config import Settings
from vaultak.wire import Command
from vaultak_streams.console.reading import Reader


class Desk(msgspec.Struct, frozen=True):
    """One console's means."""

    settings: Settings
    reader: Reader
    sign: Callable[[Command], Command]
