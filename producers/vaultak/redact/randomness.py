"""Whether a text looks drawn at random, as keys are: only asked where a name already suggests a key."""

from __future__ import annotations

import math
import re
from collections import Counter

MIN_CHARS, MAX_CHARS = 20, 512
MIN_BITS_PER_CHAR = 3.5
"""Shannon entropy: words and paths stay below 4 only when long, so that letters, digits and case are asked for too.
After secret scanners' usual thresholds of 3 to 4.5."""

_TOKEN = re.compile(r"[A-Za-z0-9+/_=.~-]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DIGEST = re.compile(r"[0-9a-f]+|[0-9A-F]+")


def looks_random(text: str) -> bool:
    """True for keys and tokens; not for words, paths, identifiers (UUID) and digests in hexadecimal."""
    if not MIN_CHARS <= len(text) <= MAX_CHARS or not _TOKEN.fullmatch(text):
        return False
    if _UUID.fullmatch(text) or _DIGEST.fullmatch(text) or text.startswith(("/", "./", "../")):
        return False
    classes = any(c.isdigit() for c in text) + any(c.islower() for c in text) + any(c.isupper() for c in text)
    return classes == 3 and entropy_bits(text) >= MIN_BITS_PER_CHAR


def entropy_bits(text: str) -> float:
    """Shannon entropy of the characters, in bits for each."""
    n = len(text)
    return -sum(count / n * math.log2(count / n) for count in Counter(text).values())
