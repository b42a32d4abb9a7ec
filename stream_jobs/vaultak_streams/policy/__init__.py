"""Policies as people write them: Sigma-shaped YAML, made into bundles that SDKs and workers load."""

from vaultak_streams.policy.source import RuleSource, bundle_from, parse_rules
from vaultak_streams.policy.trial import Failure, try_rules

__all__ = ["Failure", "RuleSource", "bundle_from", "parse_rules", "try_rules"]
