"""The pipeline put together with the risk engine of `vaultak_models`: the same for the worker and for replay."""

from __future__ import annotations

from pathlib import Path

from vaultak.errors import ConfigurationError
from vaultak.policy import PolicySettings
from vaultak_models.engine import RiskEngine
from vaultak_models.model import ModelError, RiskModel
from vaultak_models.peers import Peers
from vaultak_models.profile import AgentProfile
from vaultak_streams.pipeline.decide import Rules
from vaultak_streams.pipeline.step import Pipeline

load_profile = AgentProfile.from_bytes

__all__ = ["AgentProfile", "load_profile", "make_engine", "make_pipeline"]


def make_pipeline(
    policy: PolicySettings | Rules, model: Path | None = None, peers: Peers | None = None
) -> Pipeline[AgentProfile]:
    """A pipeline with the model at `model`, or the one that ships with the package. `peers`: see `RiskEngine`.

    Raises `ConfigurationError` for a model that cannot be used.
    """
    try:
        settings = policy.settings if isinstance(policy, Rules) else policy
        peers = Peers() if peers is None else peers
        return Pipeline(make_engine(RiskModel.load(model), settings, peers), policy, peers.take_news)
    except (ModelError, OSError) as e:
        raise ConfigurationError(f"model `{model or 'of the package'}`: {e}") from None


def make_engine(model: RiskModel, settings: PolicySettings, peers: Peers) -> RiskEngine:
    """The engine that judges with a model, and with the figures of a policy."""
    return RiskEngine(model, tables=None if settings.risk is None else settings.risk.tables(), peers=peers)
