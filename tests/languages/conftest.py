"""Fixtures of the gateway's tests: a deployment, and someone whose commands it obeys."""

from gateway.serving import operator, served, where

__all__ = ["operator", "served", "where"]
