"""The worker's eye on the registry: a model that is promoted judges from the next step on, without a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from vaultak_models.model import ModelError, RiskModel
from vaultak_models.registry import Registry, RegistryError

log = logging.getLogger("vaultak.worker")

LOOK_EVERY_S = 1.0


async def follow_models(registry: Registry, judging: str, swap: Callable[[RiskModel], None]) -> None:
    """Call `swap` with each model that is promoted, until cancelled. What cannot be used is said, once, and not used.

    `judging` is the version that judges at first.
    """
    refused = ""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            wanted = registry.current().version
            if wanted == judging:
                continue
            model = await asyncio.to_thread(registry.model_of, wanted)
        except (RegistryError, ModelError, OSError) as e:
            if str(e) != refused:
                refused = str(e)
                log.error("the promoted model is not used: %s", e)
            continue
        judging, refused = wanted, ""
        swap(model)
