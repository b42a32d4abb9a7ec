"""Card numbers: the digits that issuers give out, with the checksum that they carry (ISO/IEC 7812)."""

from __future__ import annotations

PATTERN = r"\b[2-6][0-9](?:[ -]?[0-9]){10,17}\b"
"""Major industries 2 to 6, 12 to 19 digits, in any groups."""


def is_card(text: str) -> bool:
    """Whether the digits are a card's: numbers of 12 digits pass for one in ten of all identifiers, so 13 at least."""
    return sum(c in "0123456789" for c in text) >= 13 and luhn(text)


def luhn(text: str) -> bool:
    """Whether the digits pass the checksum."""
    digits = [int(c) for c in text if c in "0123456789"]
    odd = sum(digits[-1::-2])
    even = sum(d * 2 - 9 * (d > 4) for d in digits[-2::-2])
    return len(set(digits)) > 1 and (odd + even) % 10 == 0
