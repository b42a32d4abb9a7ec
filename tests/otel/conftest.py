"""Fixtures of OpenTelemetry's tests."""

from gateway.serving import alone

__all__ = ["alone"]
