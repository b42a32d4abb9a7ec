"""When a rule matches, as it is written: `rate: {count: 10, window: 5m}`, `active: {from: "22:00", to: "06:00"}`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vaultak.errors import PolicyError
from vaultak.policy.rules import Rate, Window
from vaultak.policy.rules.tree import MAX_RATE_COUNT, MAX_RATE_WINDOW_S, Text, Windows
from vaultak.policy.rules.windows import compile_windows

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class WrittenRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`window` is a number and `s`, `m`, `h` or `d`."""

    count: Annotated[int, Meta(ge=1, le=MAX_RATE_COUNT)]
    window: Annotated[str, Meta(pattern="^[1-9][0-9]{0,5}[smhd]$")]
    by: Annotated[tuple[Text, ...], Meta(max_length=4)] = ()


WrittenActive = Window | Windows


def rate_of(written: WrittenRate | UnsetType) -> Rate | UnsetType:
    """Raises `PolicyError` for a window that is too long to be remembered."""
    if isinstance(written, UnsetType):
        return UNSET
    window = written.window.rstrip("\n")  # which `$` leaves out of account
    window_s = int(window[:-1]) * _SECONDS[window[-1]]
    if window_s > MAX_RATE_WINDOW_S:
        longest = f"{MAX_RATE_WINDOW_S // 86_400}d"
        raise PolicyError(f"a window of `{window}` is longer than `{longest}` - at `$.rate.window`")
    return Rate(written.count, window_s, written.by)


def active_of(written: WrittenActive | UnsetType) -> Windows | UnsetType:
    """Raises `PolicyError` for a zone that is not known, or a window of no length."""
    if isinstance(written, UnsetType):
        return UNSET
    windows = (written,) if isinstance(written, Window) else written
    try:
        compile_windows(windows)
    except PolicyError as e:
        raise PolicyError(str(e).replace("active[0]", "active") if windows is not written else str(e)) from None
    return windows
