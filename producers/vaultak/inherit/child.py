"""In a child: the monitor that its parent was in, entered for the life of the process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from vaultak.inherit.heritage import take_over

if TYPE_CHECKING:
    from vaultak.floor.monitor import Floor

EXIT_FLUSH_S = 0.25
"""How long a child that ends waits for the broker. What is left in its spool is delivered by the next process."""

_kept: list[Any] = []
"""The client and the monitor, for as long as the process lives."""


def begin(value: str) -> None:
    """Enter the monitor. Raises `VaultakError` where the heritage cannot be taken over."""
    if _kept:
        return
    # What they warn of the parent has said already.
    logging.getLogger("vaultak").setLevel(logging.ERROR)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    from vaultak.client import Vaultak
    from vaultak.publish import Publisher
    from vaultak.terms import unpack_settings

    heritage = take_over(value)
    settings = unpack_settings(heritage.settings)
    client = Vaultak(
        settings=settings,
        policy=heritage.policy,
        rollback_limit=heritage.rollback_limit,
        pause_timeout_s=heritage.pause_timeout_s,
        state_timeout_s=heritage.state_timeout_s,
        redact=heritage.redact,
        floor=cast("Floor", heritage.floor),
    )
    publisher = client._the_publisher()
    if isinstance(publisher, Publisher):
        publisher.exit_flush_s = EXIT_FLUSH_S
    monitor = client.monitor(heritage.agent_id, session_id=heritage.session_id, labels=heritage.labels)
    _kept.extend((client, monitor.__enter__()))
