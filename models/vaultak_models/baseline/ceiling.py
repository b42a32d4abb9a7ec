"""How much one feature may say."""

CEILING = 12.0
"""No single feature says more than this: about p = 6e-6."""


def bounded(value: float) -> float:
    """The value, in 0..`CEILING`."""
    if value <= 0.0:
        return 0.0
    return value if value < CEILING else CEILING
