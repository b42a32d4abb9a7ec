"""Secrets are taken out of all that an agent's events carry, before they leave the process."""

from vaultak.redact.cards import luhn
from vaultak.redact.formats import FORMATS
from vaultak.redact.redactor import Redactor, shown
from vaultak.redact.settings import Redaction

__all__ = ["FORMATS", "Redaction", "Redactor", "luhn", "shown"]
