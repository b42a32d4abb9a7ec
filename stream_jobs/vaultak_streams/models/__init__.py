"""The life of a risk model: trained on what agents did, kept, promoted, compared, watched for drift."""

from pathlib import Path

from vaultak.config import Settings
from vaultak_models.registry import Registry


def registry_of(settings: Settings, directory: Path | None = None) -> Registry:
    """The models of a deployment: in `models` of its data directory, or in another one."""
    return Registry(directory or settings.data_dir / "models")
