"""The features, one file each, in the order in which models know them. A new one goes to the end, and into a new
feature-set version: a model fits the features that it was trained on."""

from vaultak_models.features import (
    destructive,
    failures,
    fields,
    group,
    hour,
    kind,
    rate_hour,
    rate_minute,
    rate_ten_minutes,
    repeats,
    resource,
    sensitive,
    size,
    transition,
    unmentioned,
)
from vaultak_models.features.feature import CEILING, Feature

FEATURE_SET = 1

FEATURES: tuple[Feature, ...] = (
    kind.FEATURE,
    transition.FEATURE,
    resource.FEATURE,
    group.FEATURE,
    size.FEATURE,
    fields.FEATURE,
    rate_minute.FEATURE,
    rate_ten_minutes.FEATURE,
    rate_hour.FEATURE,
    hour.FEATURE,
    destructive.FEATURE,
    sensitive.FEATURE,
    failures.FEATURE,
    unmentioned.FEATURE,
    repeats.FEATURE,
)

__all__ = ["CEILING", "FEATURES", "FEATURE_SET", "Feature"]
