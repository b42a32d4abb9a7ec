"""Logs of the pipeline's processes: one line an event, key=value, on standard error."""

from __future__ import annotations

import logging
import os
import sys

import structlog


def configure_logs() -> None:
    """Once per process. `VAULTAK_LOG_LEVEL` (default INFO); libraries speak up from WARNING on."""
    level = logging.getLevelNamesMapping().get(os.environ.get("VAULTAK_LOG_LEVEL", "INFO").upper(), logging.INFO)
    logging.basicConfig(level=max(level, logging.WARNING), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("vaultak").setLevel(level)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=("timestamp", "level", "event")),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
