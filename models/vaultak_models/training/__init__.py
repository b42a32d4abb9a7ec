"""A model from what agents did: rows of features are sampled, bad ones left out, a forest fitted and calibrated.

Nothing in here changes the model or the profiles that judge: training keeps profiles of its own.
"""

from vaultak_models.training.fitting import MIN_ROWS, Fitted, TooLittleError, fit_model
from vaultak_models.training.gathering import Gathering

__all__ = ["MIN_ROWS", "Fitted", "Gathering", "TooLittleError", "fit_model"]
