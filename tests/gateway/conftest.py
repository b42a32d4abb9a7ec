"""Fixtures of the gateway's tests."""

from gateway.serving import alone, operator, served, where

__all__ = ["alone", "operator", "served", "where"]
