"""An endpoint where the environment wants one; else nothing, at no cost."""

from __future__ import annotations

import contextlib

import structlog

from vaultak.config import Settings
from vaultak_streams.metrics.endpoint import Endpoint, Health, targets_directory
from vaultak_streams.metrics.families import Families
from vaultak_streams.metrics.options import MetricsAddress

log = structlog.get_logger("vaultak.metrics")


def attach(
    name: str, settings: Settings, families: Families, health: Health
) -> contextlib.AbstractContextManager[Endpoint | None]:
    """Serve the metrics of this process for as long as the context lasts, if VAULTAK_METRICS says where.

    Raises `ConfigurationError` when it cannot be where it was told to be.
    """
    address = MetricsAddress.from_env()
    if address is None:
        return contextlib.nullcontext()
    endpoint = Endpoint(name, address, families, health, targets_directory(settings.data_dir))
    log.info("metrics", of=name, at=f"http://{endpoint.address}/metrics")
    return endpoint
